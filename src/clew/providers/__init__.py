"""The models we call: one file a provider, over httpx (by its living name, httpx2)."""
