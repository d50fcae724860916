"""What the project's speed is measured with: one module per table, each against the peers that are installed.

    python -m tests.benchmarks.starts                  # full: rounds enough for a median, minutes where a peer is slow
    python -m tests.benchmarks.starts --quick          # one round, small trees: shows that everything works, its times say little
    pytest tests/benchmarks                            # every table, quick; a plain ``pytest`` does the same
    NBCONTAINERS_BENCHMARKS=full pytest -s tests/benchmarks

Every target is a ratio to a peer measured in turn in the same run (A B A B …), so that a noisy machine spoils both alike. A table
is printed and written to ``results/``; a missed target fails nothing, because a benchmark is not a test. The peers are
Debian's ``runc crun bubblewrap docker.io buildah podman umoci``, each on a store, socket and cgroup of its own, all
removed at the end; most of them need root. One that is missing, or that refuses this host, is named with its own words.
"""
