"""Other identities in a user namespace with a single id: each process's ids, each file's owner, answered by a supervisor.

Without privilege only one user exists in a container, so the kernel refuses chown, setuid, setgroups and mknod, which package
managers, ``useradd`` and ``su`` need, and which they verify: a bare success is not enough. A seccomp filter hands these calls, and
those that ask, to a supervisor beside the shim (``supervisor``), which answers from what is recorded:

- who a process is: a number in its RLIMIT_LOCKS, a limit that Linux has not looked at since 2.4. The kernel itself hands it on
  at fork and keeps it at exec, so it can neither be lost nor go to the wrong process (``credentials``);
- whose a file is: an extended attribute of the file, or a ledger (``linux.recorded``), which the store brings out into layers.

It cannot hold where the kernel tells of ids in passing: in ``/proc/PID/status`` (so ``ps`` of procps names one user for all), in
messages with SCM_CREDENTIALS, in ``si_uid`` of a signal; nor where the kernel asks who somebody is before it lets him: every user
inside may read and signal what any other may.

Nothing is protected by it: to the kernel every process is the one user, who can read and write everything inside. The
supervisor is in the container's own namespaces and can do no more than the container's root.
"""
