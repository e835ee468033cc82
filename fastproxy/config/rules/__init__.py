"""What a configuration must fulfil to make sense: each rule yields the problems it finds."""
