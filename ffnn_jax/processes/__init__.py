"""Several processes that run one program: joined, kept alike, and told when one of them dies.

The engine is `jax.distributed`, with its gloo or NCCL. What it does when something is wrong was
tried with two processes on CPU (jax 0.10.2 and 0.12.0, its time-outs set to 5 to 10 s):

  what happens                             what JAX does                              after
  the coordinator does not answer          aborts the process                         time-out + 5 s
  a process does not come                  aborts the others                          time-out + 5 s
  kill -9 of a process, in a collective    JaxRuntimeError "Gloo … failed"            < 1 s
    and then, at the end of the survivor   waits for the dead, and aborts             heartbeats
    or, two devices a process, sometimes   waits in the collective, and aborts        heartbeats
  kill -9 of process 0, the coordinator    aborts all others, mostly before the       0.1 s
                                           JaxRuntimeError is there
  an exception in one process              waits for the others at exit, which wait   time-out
                                           for it in a collective; aborts both
  a process stops answering (SIGSTOP)      aborts the others                          heartbeats
  the same, jax_enable_recoverability      waits in the collective                    30 minutes

An abort is `LOG(FATAL)` in jaxlib's client.h, in a thread of its own: no exception, exit status
134. Its callback cannot be set from Python (std::bad_cast). So here

  star        host values go over connections of our own, that end when a process ends
  start       a roll call comes before `jax.distributed.initialize`; the last wait at exit is ours
  door        the connection of JAX's client outlives the coordinator
  engine      after a failure JAX's client is not asked to say goodbye
  agreement   an error of a collective becomes a `ProcessError` that says who was lost
  watch       a program that waits for the dead all the same is ended, with that error
  preemption  signals are noted, told, and acted on by all at the same step

Only of a process that stops answering with its connections open JAX still tells, by its abort.
"""

from ffnn_jax.processes.agreement import agree as agree
from ffnn_jax.processes.agreement import exchange as exchange
from ffnn_jax.processes.agreement import from_first as from_first
from ffnn_jax.processes.agreement import peers as peers
from ffnn_jax.processes.checking import all_or_none as all_or_none
from ffnn_jax.processes.link import ProcessError as ProcessError
from ffnn_jax.processes.preemption import Preempted as Preempted
from ffnn_jax.processes.preemption import hearing as hearing
from ffnn_jax.processes.start import leave as leave
from ffnn_jax.processes.start import start_processes as start_processes
