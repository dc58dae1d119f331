"""What dialects have in common: requests and answers on the wire, streams of a run, finding what is asked for."""
