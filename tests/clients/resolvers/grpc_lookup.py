"""Run gRPC's c-ares resolver. For each line "both NAME", call that name at a port, and print why the call failed.

Nothing listens at the port, so the call fails after the channel has tried each address that the resolver returned.
"""

import os
import sys

os.environ |= {"GRPC_DNS_RESOLVER": "ares", "GRPC_VERBOSITY": "NONE"}

import grpc

PORT = sys.argv[1]

for line in sys.stdin:
    name = line.split()[1]
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(f"dns:///{name}:{PORT}", options=options) as channel:
        try:
            channel.unary_unary("/none/none")(b"", timeout=10)
        except grpc.RpcError as error:
            print(" ".join(error.details().split()), flush=True)
