"""Signed zones of our own: a root, a zone below it, two below that, one that is not signed; NSEC or NSEC3.

`SignedZones` answers like a recursive server that does not validate. Keys are made anew for each run.
"""

from functools import lru_cache
from time import time
from typing import Any

import dns.dnssec
import dns.message
import dns.name
import dns.rdata
import dns.rdataset
import dns.rdatatype
import dns.rrset
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["SignedZones"]

RdataType = dns.rdatatype.RdataType

Name = dns.name.Name
HOUR = 3600
TEXTS = {
    ".": "@ SOA ns host 1 2 3 4 60\n@ NS ns.test.\ntest NS ns.test.\n",
    "test.": """@ SOA ns host 1 2 3 4 60
@ NS ns
ns A 127.0.0.1
www A 192.0.2.1
alias CNAME www.secure.test.
alias.alias CNAME alias.test.
moved DNAME secure.test.
a.empty A 192.0.2.9
*.wild A 192.0.2.7
secure NS ns.secure
ns.secure A 127.0.0.1
evil NS ns.evil
ns.evil A 127.0.0.1
plain NS ns.plain
ns.plain A 127.0.0.1
""",
    "secure.test.": "@ SOA ns host 1 2 3 4 60\n@ NS ns\nns A 127.0.0.1\nwww A 192.0.2.2\nwww AAAA 2001:db8::2\n",
    "evil.test.": "@ SOA ns host 1 2 3 4 60\n@ NS ns\nns A 127.0.0.1\n",
    "plain.test.": "@ SOA ns host 1 2 3 4 60\n@ NS ns\nns A 127.0.0.1\nwww A 192.0.2.3\n",
}
UNSIGNED = "plain.test."


class SignedZones:
    """All zones, and `anchors`, the DS of the root."""

    def __init__(self, *, nsec3: bool = False, opts_out: bool = False, iterations: int = 1) -> None:
        self.nsec3 = nsec3
        self._iterations = iterations
        self.opts_out = opts_out
        self.zones: dict[Name, dns.zone.Zone] = {}
        self.anchors: list[str] = []
        for origin in sorted(TEXTS, key=len, reverse=True):  # children first: parents need their DS
            self._add(dns.name.from_text(origin), TEXTS[origin])

    def respond(self, query: dns.message.Message) -> dns.message.Message:
        """Answer with signatures and proofs."""
        response = dns.message.make_response(query, recursion_available=True)
        name, kind = query.question[0].name, query.question[0].rdtype
        for _ in range(5):
            zone = self._zone_of(name, kind)
            found = self._find(zone, response, name, kind)
            if found is None:
                return response
            name = found
        return response

    def _find(self, zone: dns.zone.Zone, response: dns.message.Message, name: Name, kind: RdataType) -> Name | None:
        """Add what a zone has for a name; return the target of an alias."""
        assert zone.origin is not None
        for wanted in (kind, dns.rdatatype.CNAME):
            rdataset = zone.get_rdataset(name, wanted)
            if rdataset is not None:
                self._add_signed(response.answer, zone, name, name, rdataset)
                return rdataset[0].target if wanted == dns.rdatatype.CNAME != kind else None
        moved = zone.get_rdataset(name.parent(), dns.rdatatype.DNAME)
        if moved is not None:  # what it makes of the name is not signed (RFC 6672, section 5.3.1)
            self._add_signed(response.answer, zone, name.parent(), name.parent(), moved)
            target = dns.name.Name(name.labels[:1]).concatenate(moved[0].target)
            response.answer.append(dns.rrset.from_text(name, moved.ttl, "IN", "CNAME", target.to_text()))
            return Name(target.labels)
        wild = dns.name.Name([b"*"]).concatenate(name.parent())
        rdataset = zone.get_rdataset(wild, kind) if not self._is_there(zone, name) else None
        if rdataset is not None:
            self._add_signed(response.answer, zone, wild, name, rdataset)
        else:
            if not self._is_there(zone, name) and wild not in zone.nodes:
                response.set_rcode(3)  # type: ignore[arg-type]
            self._add_signed(response.authority, zone, zone.origin, zone.origin, zone.get_rdataset(zone.origin, "SOA"))
        for owner, proof in self._proofs(zone, name):
            self._add_signed(response.authority, zone, owner, owner, proof)
        return None

    def _is_there(self, zone: dns.zone.Zone, name: Name) -> bool:
        return any(each.is_subdomain(name) for each in zone.nodes)

    def _zone_of(self, name: Name, kind: int) -> dns.zone.Zone:
        fits = [origin for origin in self.zones if name.is_subdomain(origin)]
        if kind == dns.rdatatype.DS:
            fits = [origin for origin in fits if origin != name] or fits
        return self.zones[max(fits, key=len)]

    def _add_signed(self, section: list[Any], zone: dns.zone.Zone, owner: Name, name: Name, rdataset: Any) -> None:
        section.append(dns.rrset.from_rdata_list(name, rdataset.ttl, list(rdataset)))
        signatures = zone.get_rdataset(owner, "RRSIG", rdataset.rdtype)
        if signatures is not None:
            section.append(dns.rrset.from_rdata_list(name, signatures.ttl, list(signatures)))

    def _proofs(self, zone: dns.zone.Zone, name: Name) -> list[tuple[Name, Any]]:
        """Return all NSEC or NSEC3 of a zone: more than a server sends, and no less a proof."""
        kind = dns.rdatatype.NSEC3 if self.nsec3 else dns.rdatatype.NSEC
        return [(owner, rdataset) for owner, rdataset in zone.iterate_rdatasets(kind)]

    # -- signing

    def _add(self, origin: Name, text: str) -> None:
        zone = dns.zone.from_text(f"$TTL 60\n{text}", origin=origin, relativize=False, check_origin=False)
        self.zones[origin] = zone
        if origin.to_text() == UNSIGNED:
            return
        for child in self.zones:
            if child != origin and child.parent() == origin and child.to_text() != UNSIGNED:
                zone.replace_rdataset(child, dns.rdataset.from_rdata(60, ds_of(child)))
        private, key = key_of(origin.to_text())
        zone.replace_rdataset(origin, dns.rdataset.from_rdata(60, key))
        if self.nsec3:
            self._add_nsec3(zone)
        else:
            self._add_nsec(zone)
        self._sign(zone, private, key)
        if origin == dns.name.root:
            self.anchors = [ds_of(origin).to_text()]

    def _authoritative(self, zone: dns.zone.Zone) -> list[Name]:
        """Return the names of a zone that it has a say in: not the addresses of others' servers."""
        cuts = [name for name, _ in zone.iterate_rdatasets("NS") if name != zone.origin]
        return [name for name in zone.nodes if not any(name != cut and name.is_subdomain(cut) for cut in cuts)]

    def _types(self, zone: dns.zone.Zone, name: Name) -> set[int]:
        node = zone.nodes.get(name)
        return {int(rdataset.rdtype) for rdataset in node.rdatasets} if node is not None else set()

    def _add_nsec(self, zone: dns.zone.Zone) -> None:
        names = sorted(self._authoritative(zone))
        for name, following in zip(names, [*names[1:], names[0]], strict=True):
            types = " ".join(map(dns.rdatatype.to_text, sorted({*self._types(zone, name), 46, 47})))  # type: ignore[arg-type]
            nsec = dns.rdata.from_text("IN", "NSEC", f"{following} {types}")
            zone.replace_rdataset(name, dns.rdataset.from_rdata(60, nsec))

    def _add_nsec3(self, zone: dns.zone.Zone) -> None:
        assert zone.origin is not None
        names = set(self._authoritative(zone))
        for name in list(names):  # what is only on the way to a name
            while name != zone.origin:
                names.add(name)
                name = name.parent()
        if self.opts_out:
            names = {name for name in names if self._types(zone, name) != {int(dns.rdatatype.NS)}}
        hashes = {dns.dnssec.nsec3_hash(name, "aa", self._iterations, 1): self._types(zone, name) for name in names}
        ordered = sorted(hashes)
        for owner, following in zip(ordered, [*ordered[1:], ordered[0]], strict=True):
            types = " ".join(map(dns.rdatatype.to_text, sorted({*hashes[owner], 46})))  # type: ignore[arg-type]
            text = f"1 {int(self.opts_out)} {self._iterations} aa {following} {types}"
            name = dns.name.Name([owner.lower().encode()]).concatenate(zone.origin)
            zone.replace_rdataset(name, dns.rdataset.from_rdata(60, dns.rdata.from_text("IN", "NSEC3", text)))

    def _sign(self, zone: dns.zone.Zone, private: Any, key: Any) -> None:
        assert zone.origin is not None
        now = int(time())
        cuts = {name for name, _ in zone.iterate_rdatasets("NS") if name != zone.origin}
        theirs = {name for name in zone.nodes for cut in cuts if name != cut and name.is_subdomain(cut)}
        for name, rdataset in list(zone.iterate_rdatasets()):
            if name in theirs or (name in cuts and rdataset.rdtype == dns.rdatatype.NS):
                continue
            rrset = dns.rrset.from_rdata_list(name, rdataset.ttl, list(rdataset))
            signature = dns.dnssec.sign(
                rrset, private, zone.origin, key, inception=now - HOUR, expiration=now + HOUR, deterministic=False
            )
            signatures = dns.rdataset.from_rdata(60, signature)
            zone.find_node(name).replace_rdataset(signatures)


@lru_cache(maxsize=16)
def key_of(origin: str) -> tuple[Any, Any]:
    """Return the private key and the DNSKEY of a zone."""
    private = ec.generate_private_key(ec.SECP256R1())
    return private, dns.dnssec.make_dnskey(private.public_key(), "ECDSAP256SHA256", flags=257)


def ds_of(origin: Name) -> Any:
    """Return the DS record of a zone."""
    return dns.dnssec.make_ds(origin, key_of(origin.to_text())[1], "SHA256")
