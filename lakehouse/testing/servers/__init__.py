"""Real servers on this machine's loopback, as context managers: for tests, and for ``lake demo``.

Their programs come from the extra ``lakehouse-portability[demo]``; each module says what its double gets wrong.
"""

from lakehouse.testing.servers.azurite import AzuriteServer
from lakehouse.testing.servers.faults import FaultProxy, Request, Rule
from lakehouse.testing.servers.gcs import GcsServer
from lakehouse.testing.servers.moto import MotoServer
from lakehouse.testing.servers.process import free_ports
from lakehouse.testing.servers.seaweed import SeaweedServer

__all__ = ["AzuriteServer", "FaultProxy", "GcsServer", "MotoServer", "Request", "Rule", "SeaweedServer", "free_ports"]
