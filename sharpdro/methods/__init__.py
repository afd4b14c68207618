"""SharpDRO and the methods that it is compared with: one training step each."""
