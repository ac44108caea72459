"""Getting cells computed: what has to run before what (jobs), how long it takes (estimate), and where (local)."""
