"""Decides which blocks are read, by the addresses of all blocks: `[SCHEME://]ZONE[:PORT]`.

pydns gives the same answers at all addresses of `--listen`, over UDP and TCP. So a Corefile with several ports is
accepted only if all ports have the same zones. Blocks for other transports (`tls://`, `https://`) are left out if other
blocks serve their zones over UDP and TCP.
"""

from collections.abc import Iterator, Sequence

from pydns.config.corefile.blocks import BadCorefile, Block, NotCarriedOut
from pydns.config.corefile.draft import Draft, Zone
from pydns.config.corefile.tokens import Token
from pydns.config.corefile.view import has_view
from pydns.config.corefile.zones import Address, parse_address
from pydns.config.mistakes import quote

_Addresses = list[tuple[Token, Address]]
_PLAIN = "dns"  # the scheme of blocks that are reached over UDP and TCP


def served_blocks(blocks: Sequence[Block], draft: Draft) -> Iterator[tuple[Block, tuple[Zone, ...]]]:
    """Yield each block that is read, with its zones. Add an error for each block that can't be served."""
    addresses = [_parse(block, draft) for block in blocks]
    plain = [[each for each in found if each[1].scheme == _PLAIN] for found in addresses]
    _check_transports(addresses, plain, draft)
    _check_ports(plain, draft)
    taken: set[str] = set()
    for block, found in zip(blocks, plain, strict=True):
        zones = {zone.name: zone for _, address in found for zone in address.zones}
        if not has_view(block):
            for zone in [each for each in zones.values() if each.name in taken]:
                draft.refuse(BadCorefile(zone.token, f"a second block for {zone.name}", "allowed"))
                del zones[zone.name]
            taken |= zones.keys()
        if found:
            yield block, tuple(zones.values())


def _parse(block: Block, draft: Draft) -> _Addresses:
    found = []
    for token in block.addresses:
        try:
            found.append((token, parse_address(token)))
        except BadCorefile as error:
            draft.refuse(error)
    return found


def _check_transports(addresses: Sequence[_Addresses], plain: Sequence[_Addresses], draft: Draft) -> None:
    served = {zone.name for found in plain for _, address in found for zone in address.zones}
    for token, address in [each for found in addresses for each in found if each[1].scheme != _PLAIN]:
        if served.issuperset(zone.name for zone in address.zones):
            draft.note(token, "no effect: these names are answered only over UDP and TCP")
        else:
            wanted = "carried out without a block for its zone over UDP and TCP; pydns has no other transports"
            draft.refuse(NotCarriedOut(token, quote(f"{address.scheme}://"), wanted))


def _check_ports(plain: Sequence[_Addresses], draft: Draft) -> None:
    at_port: dict[int, set[tuple[int, str]]] = {}  # port -> the zones of the port, each with the number of its block
    for number, found in enumerate(plain):
        for _, address in found:
            at_port.setdefault(address.port, set()).update((number, zone.name) for zone in address.zones)
    first = next(iter(at_port), 0)
    for token, address in [each for found in plain for each in found if each[1].port != first]:
        if at_port[address.port] == at_port[first]:
            draft.note(token, f"no effect: set by the flag --listen; this port has the same answers as port {first}")
        else:
            wanted = f"the port of the other blocks, {first}: all addresses of --listen have the same zones"
            draft.refuse(NotCarriedOut(token, f"port {address.port}", wanted))
