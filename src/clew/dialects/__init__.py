"""The wire APIs that we serve, one package each. A dialect translates and never decides; none knows another."""
