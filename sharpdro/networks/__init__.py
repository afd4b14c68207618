"""Networks: built, loaded, exported."""
