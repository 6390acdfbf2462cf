"""One reconcile function per file; `sim.catalog` lists them."""
