"""What a spec means: chosen members, heads, data, metrics, outputs, by its descriptors' facts."""
