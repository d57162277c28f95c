"""gRPC's c-ares resolver. Reads "both NAME" a line: calls that name at a port, and prints why that failed.

Nothing listens there, so the call fails when the channel has tried each address that it resolved.
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
