"""One column of the contract table for each provider, in a module named like the provider's adapter."""
