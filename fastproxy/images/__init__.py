"""Smaller images, made by Pillow in processes of their own: an image may be a weapon."""
