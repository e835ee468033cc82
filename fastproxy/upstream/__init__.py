"""The far side: backends, their connections and what we ask them."""
