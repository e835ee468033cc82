"""Take the files out of a form into a store, and pass the other fields on."""
