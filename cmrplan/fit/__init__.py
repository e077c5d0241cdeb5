"""From a probe log to fitted laws of both losses, with what is not known of them."""
