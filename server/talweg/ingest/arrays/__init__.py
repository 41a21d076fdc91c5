"""Arrays: NumPy and safetensors become named arrays with one first dimension."""
