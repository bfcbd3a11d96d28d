"""Several processes that run one program: joined, kept alike, and told when one of them dies."""

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
