"""One kube-scheduler plugin per file, named as upstream; `sim.catalog` lists them."""
