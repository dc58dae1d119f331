"""Real crashes: processes killed, databases stopped hard, networks cut, disks full. Nothing acknowledged is lost."""
