"""The engine: what makes runs go on. It assembles contexts, calls models, executes tools and survives crashes."""
