"""Takeover of answers: a backend says what is to be sent, and we send it in its place."""
