"""Gateways on this machine: an installation has to allow them, and so do tests."""

from __future__ import annotations

from functools import partial
from ipaddress import ip_network

from postroom.gateway.dialer import Dialer
from postroom.gateway.session import Endpoint

NETWORKS = "127.0.0.0/8"
DIALER = Dialer((ip_network(NETWORKS),))

local_endpoint = partial(Endpoint, dialer=DIALER)
