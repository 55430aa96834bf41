"""python -m skstack.simulator: the simulated module on a pseudo-terminal."""

from skstack.simulator.pseudo_terminal import main

raise SystemExit(main())
