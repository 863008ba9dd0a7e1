#!/usr/bin/env python3
"""A second reader of the formats in docs/FORMAT.md, written from that page.

It shares no code with the Rust library. What the page leaves open it does as the library does.

  stillboot_reader.py vectors DIR     checks DIR/vectors.json and the files it names
  stillboot_reader.py judge FORMAT    a line for each file that standard input names, one a line:
                                      accept SHA256 | refuse KIND FIELD NUMBER

SHA256 is that of the value as JSON: on one line, without spaces, fields in the order of their
names. What vectors.json says and how values are written in JSON: docs/vectors/README.md.
"""
import io
import json
import lzma
import re
import struct
import sys
from hashlib import sha256, sha512
from pathlib import Path
from zlib import crc32

# The first code, and the names from there on.
TABLES = """
payload_type  1 keyset manifest channel-index statement loader-release
kind          1 ed25519 lms-h10 lms-h20 hss-h10-h10 ml-dsa-44 ml-dsa-65 ml-dsa-87
slot          0 a b c recovery
role          0 kernel initramfs cmdline dtbs uki rootfs image data verity loader
load          0 ram xip late
linked        0 every a b c recovery
encryption    0 none
risk          0 stable candidate beta edge
architecture  0 any x86_64 aarch64 armv7 thumbv6m thumbv7m thumbv7em thumbv8m riscv32 riscv64
statement     1 channel approval sign-off
state         0 empty writing ready trying good bad
fault         1 corrupt marked-bad returned exhausted data-epoch superseded unreadable
boot_loader   0 stillboot grub u-boot systemd-boot raspberry-pi gpt-attributes android-bcb arm-fwu
cell          1 record head index committed confirmed unmarked
"""
# field:type or field:type:least:most. N*type is a sequence of at most N, bN are N bytes, v8 is a
# version, types in upper case are tables of codes. All but index, offer and patch, which are JSON,
# are Postcard.
STRUCTS = """
keyset     schema:v8:1:1 version:u32:1:4294967294 rules:rules keys:8*key:1
rules      release:rule recovery:rule edge-release:rule channel:rule approver:rule sign-off:rule
key        kind:KIND name:b32 roles:u8:1:63
manifest   schema:v8:1:1 product:b16 class:b16 revision_min:u16 revision_max:u16
           version:label:1:32 sequence:u64:0:18446744073709551614 level:u32:0:4294967294
           min_from:label:0:32 channel:channel architecture:ARCHITECTURE not_after:u64
           epochs:epochs rollout:u8:0:100 flags:u32:0:3 chunk_size:u32:4096:1048576
           components:8*component:1
component  role:ROLE load:LOAD linked:LINKED encryption:ENCRYPTION length:u64:1:281474976710656
           index_root:b32 sha256:b32
channel    track:label:1:16 risk:RISK branch:label:0:16
epochs     reads_min:u16 reads_max:u16 writes:u16
statement  schema:v8:1:1 kind:STATEMENT digest:b32 number:u64:1:9007199254740991 product:b16
           channel:channel rollout:u8:0:100 not_after:u64 name:label:0:16
record     slots:slots floor:floor recovery_floor:floor data_epoch:u16 failed:8*failed hold:hold
           notes:bytes:0:384
slots      a:slot b:slot c:slot recovery:slot
slot       state:STATE suspect:bool held:bool priority:u8 digest:b32 floor:floor epochs:epochs
           version:ascii:0:32
ready      tries:u8:1:15
trying     left:u8:0:15 attempt:u8 nonce:u64
bad        fault:FAULT
floor      keyset_version:u32 level:u32
failed     digest:b32 fault:FAULT count:u8 at:u64
hold       until:u64 since:u64
notes      version:v8:1:1 loader:loader history:4*past statements:4*seen index_issue:u64
loader     kind:BOOT_LOADER needs:print:0:32
past       version:label:1:32 keyset_version:u32 sequence:u64 at:u64
seen       digest:b32 kind:STATEMENT number:u64:1:9007199254740991
index      schema:u53 product:b16 track:label:1:16 issue:u53:1 until:u53 offers:128*offer
           patches:128*patch
offer      risk:RISK branch:label:0:16 digest:b32 version:label:1:32 size:u53:1 url:url:1:192
           since:u53 until:u53
patch      from:b32 to:b32 size:u53:1 url:url:1:192
"""
CHARACTERS = {"label": r"[A-Za-z0-9.\-+_~]", "print": "[ -~]", "ascii": r"[\0-\x7f]",
              "url": r"[A-Za-z0-9\-._~:/?#\[\]@!$&()*+,;=%]", "bytes": r"[\0-\xff]"}
# What must hold of a struct once the field was read, and of elements up to the one just read.
RULES = {
    "key roles": lambda key: key["roles"] & 0x05 != 0x05,
    "manifest revision_max": lambda m: m["revision_min"] <= m["revision_max"],
    "manifest epochs": lambda m: (m["epochs"]["reads_min"] <= m["epochs"]["writes"]
                                  <= m["epochs"]["reads_max"]),
    "manifest chunk_size": lambda m: m["chunk_size"] & m["chunk_size"] - 1 == 0,
    "statement name": lambda s: (s["kind"] == "sign-off") == (s["name"] != ""),
    "each key": lambda keys: keys[-1]["name"] not in [key["name"] for key in keys[:-1]],
    "each component": lambda many: all(
        one["role"] != many[-1]["role"] or len({one["linked"], many[-1]["linked"]} - {"every"}) == 2
        for one in many[:-1]),
}
# Of each kind of key: length of the public key in a signature, of the signature, most of them.
KINDS = {"ed25519": (0, 64, 4), "lms-h10": (60, 1456, 2), "lms-h20": (60, 1776, 2),
         "hss-h10-h10": (60, 2964, 2), "ml-dsa-44": (1312, 2420, 2), "ml-dsa-65": (1952, 3309, 2),
         "ml-dsa-87": (2592, 4627, 1)}
ROLES = ["root", "release", "recovery", "edge-release", "channel", "approver", "sign-off"]
CRC_RESIDUE = 0x2144DF1C  # The CRC-32 of anything with its own CRC-32 behind it.

TABLES = {name: dict(enumerate(names, int(first)))
          for name, first, *names in map(str.split, TABLES.strip().splitlines())}
STRUCTS = {name: [field.split(":") for field in fields] for name, *fields
           in map(str.split, re.sub(r"\n +", " ", STRUCTS).strip().splitlines())}


class Refused(Exception):
    """Bytes that are no value of the format: kind of the refusal, field, number that is unknown."""


def require(holds, field, kind="bounds", number=None):
    if not holds:
        raise Refused(kind, field, number)


def digest(data):
    return sha256(data).hexdigest()


def is_ascending(values):
    return all(one < other for one, other in zip(values, values[1:]))


# Ed25519, to verify only: nothing here keeps a secret. Points are (X, Y, Z, T), where x = X/Z,
# y = Y/Z and xy = T/Z.
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)


def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def multiply(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        result = add(result, point) if scalar & 1 else result
        point, scalar = add(point, point), scalar >> 1
    return result


def is_small_order(point):
    x, y, z, _ = multiply(8, point)
    return x == 0 and y == z


def decode_point(data):
    """The point of 32 bytes; None if they are no canonical encoding, or its order is small."""
    number = int.from_bytes(data, "little")
    y, sign = number % 2**255, number >> 255
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if x * x % P == square else x * SQRT_M1 % P
    if y >= P or x * x % P != square or (x == 0 and sign):
        return None
    x = x if x & 1 == sign else P - x
    point = (x, y, 1, x * y % P)
    return None if is_small_order(point) else point


BASE = decode_point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def is_signature(public, message, signature):
    """Whether [8]S B = [8]R + [8]k A."""
    a, r = decode_point(public), decode_point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L:
        return False
    k = int.from_bytes(sha512(signature[:32] + public + message).digest(), "little") % L
    x, y, z, t = add(r, multiply(k, a))
    return is_small_order(add(multiply(s, BASE), (-x % P, y, z, -t % P)))


class Payload(io.BytesIO):
    """Bytes to decode, and the faults of fields so far, which count after those of the decoding."""
    faults = ()

    def note(self, holds, *fault):
        self.faults += () if holds else (Refused(*fault),)


def take_bytes(stream, length):
    """Of Postcard, as all that take: off the front of a payload, each in its one encoding."""
    data = stream.read(length)
    require(len(data) == length, "the end", "short")
    return data


def take_number(stream, bits):
    if bits == 8:
        return take_bytes(stream, 1)[0]
    value = shift = byte = 0
    while shift == 0 or byte >= 128:
        byte = take_bytes(stream, 1)[0]
        value, shift = value | byte % 128 << shift, shift + 7
        require(value < 1 << bits and (byte < 128 or shift < bits), "number", "malformed")
    require(byte or shift == 7, "number", "canonical")
    return value


def take_struct(stream, name):
    value = {}
    for field, form, *bounds in STRUCTS.get(name, []):
        value[field] = take(stream, field, form, *map(int, bounds))
        stream.note(RULES.get(f"{name} {field}", bool)(value), "bounds", field, None)
    return value


def take(stream, field, form, least=0, most=2**64):
    count, is_sequence, inner = form.rpartition("*")
    if is_sequence:
        length = take_number(stream, 64)
        require(length <= int(count), field, "malformed")
        stream.note(length >= least, "bounds", field, None)
        value = []
        for _ in range(length):
            value.append(take(stream, field, inner))
            stream.note(RULES.get(f"each {inner}", bool)(value), "duplicate", field, None)
        return value
    if form.isupper():
        code, table = take_number(stream, 8), TABLES[form.lower()]
        # What follows these has a length of its own. Faults of a later version are kept.
        require(code in table or form not in ("STATE", "ENCRYPTION"), field, "unknown", code)
        stream.note(code in table or form == "FAULT", "unknown", field, code)
        name = table.get(code, code)
        return {"name": name, **take_struct(stream, name)} if form == "STATE" else name
    if form == "rule":
        value = take_bytes(stream, 4)
        for kind in value[::2]:
            stream.note(kind == 0 or kind in TABLES["kind"], "unknown", "kind", kind)
        return value.hex()
    if form in STRUCTS:
        return take_struct(stream, form)
    if form in CHARACTERS:
        length = take_number(stream, 64)
        require(length <= most, field, "malformed")
        data = stream.read(length)
        require(form == "bytes" or data.isascii(), field, "malformed")
        require(len(data) == length, "the end", "short")
        text = data.decode("latin-1")
        is_sound = re.fullmatch(CHARACTERS[form] + "*", text) and len(text) >= least
        stream.note(is_sound, "bounds", field, None)
        return data.hex() if form == "bytes" else text
    if form[0] == "b":
        data = take_bytes(stream, 1 if form == "bool" else int(form[1:]))
        require(form != "bool" or data[0] < 2, field, "malformed")
        return data[0] == 1 if form == "bool" else data.hex()
    value = take_number(stream, int(form[1:]))
    require(form[0] != "v" or value == 1, field, "version")
    is_code = field in ("roles", "flags") and value > most
    stream.note(least <= value <= most, "unknown" if is_code else "bounds", field, value)
    return value


def read_struct(name, data):
    stream = Payload(data)
    value = take_struct(stream, name)
    require(not stream.read(1), "the end", "trailing")
    if stream.faults:
        raise stream.faults[0]
    return value


def pattern(form, least=0, most=0):
    """The JSON of a value, in its one encoding, as a regular expression."""
    count, is_sequence, inner = form.rpartition("*")
    if is_sequence:
        return r"\[(?:%s(?:,%s){0,%d})?\]" % (pattern(inner), pattern(inner), int(count) - 1)
    if form in STRUCTS:
        fields = (f'"{field}":{pattern(*parts)}' for field, *parts in STRUCTS[form])
        return r"\{" + ",".join(fields) + r"\}"
    if form.isupper():
        return '"(?:%s)"' % "|".join(TABLES[form.lower()].values())
    if form in CHARACTERS:
        return '"%s{%s,%s}"' % (CHARACTERS[form], least, most)
    if form == "u53":
        return "[1-9][0-9]{0,15}" if least else "(?:0|[1-9][0-9]{0,15})"
    return '"[0-9a-f]{%d}"' % (2 * int(form[1:]))


INDEX = re.compile(pattern("index"))


def read_index(payload, **_):
    """Of what breaks the form nothing more is told than that."""
    text = payload.decode("latin-1")
    schema = re.match(r'\{"schema":([0-9]{1,19})[,}]', text)
    require(schema is None or int(schema[1]) == 1, "schema", "version")
    require(len(text) <= 65536 and INDEX.fullmatch(text), "index", "malformed")
    value = json.loads(text)
    offers, patches, risks = value["offers"], value["patches"], list(TABLES["risk"].values())
    numbers = re.findall('":([0-9]+)', text)
    require(all(int(number) < 2**53 for number in numbers), "numbers", "malformed")
    order = [(risks.index(o["risk"]), o["branch"], o["digest"]) for o in offers]
    require(is_ascending(order), "offers", "malformed")
    require(is_ascending([(p["to"], p["from"]) for p in patches]), "patches", "malformed")
    require(all(o["until"] == 0 or o["since"] < o["until"] for o in offers), "until", "malformed")
    require(all(p["from"] != p["to"] for p in patches), "to", "malformed")
    return value


def split_envelope(data, due=None):
    """The envelope at the front of `data`, its payload, its signatures, and what follows it; `due`
    is its payload type."""
    require(len(data) >= 48, "envelope", "short")
    magic, version, code, count, zero, length, signed = struct.unpack_from("<4s4B2I", data)
    require(magic == b"SBEN", "envelope", "magic")
    require(version == 1, "version", "version")
    require(code in TABLES["payload_type"], "payload_type", "unknown", code)
    payload_type = TABLES["payload_type"][code]
    more = 65536 - 1024 if payload_type == "channel-index" else 0
    require(1 <= count <= 8, "signature_count")
    require(zero == 0, "reserved")
    require(1 <= length <= 1024 + more, "payload_length")
    start, end = 48 + signed, 48 + signed + length
    require(end <= 12288 + more and signed <= 12288, "signatures")
    require(len(data) >= end, "envelope", "short")
    at, names, made = 48, [], []
    for _ in range(count):
        require(at + 33 <= start, "signatures")
        require(data[at] in TABLES["kind"], "kind", "unknown", data[at])
        public, size, most = KINDS[TABLES["kind"][data[at]]]
        names += [data[at:at + 33].hex()]
        require(is_ascending(names[-2:]), "signature_order")
        # In order, so that those of a kind stand together.
        require(names[-1][:2] not in [name[:2] for name in names[:-most]], "signature_count")
        at += 33 + public + size
        require(at <= start, "signatures")
        made.append(data[at - size:at])
    require(at == start, "signatures")
    require(digest(data[start:end]) == data[16:48].hex(), "payload", "digest")
    require(due in (None, payload_type), "payload_type", "content")
    return {"payload_type": payload_type, "digest": data[16:48].hex(), "signatures": names,
            "length": end}, data[start:end], list(zip(names, made)), data[end:]


def open_envelope(data, due, roles, keyset, device):
    """The payload, the first of the roles whose rule is met, and what follows the envelope. A wrong
    signature by a key of any of the roles refuses it."""
    _, payload, signatures, rest = split_envelope(data, due)
    rules = {role: bytes.fromhex(keyset["rules"][role]) for role in roles}
    met = []
    for role in roles:
        bit = 1 << ROLES.index(role) >> 1
        message = (b"stillboot-signature-v1\0" + bytes([data[5], ROLES.index(role)])
                   + bytes.fromhex(device["product"]) + data[8:12] + data[16:48])
        holders = ["01" + key["name"] for key in keyset["keys"]
                   if key["kind"] == "ed25519" and (role == "root" or key["roles"] & bit)]
        found = [(bytes.fromhex(name)[1:], made) for name, made in signatures if name in holders]
        for name, made in found:
            require(is_signature(name, message, made), role, "signature")
        met += [role] if 0 < rules[role][1] <= len(found) else []
    for role in roles:
        for kind in rules[role][::2]:
            require(kind <= 1, "kind", "unknown", kind)
        if role in met:
            return payload, role, rest
    raise Refused("signature", roles[0], None)


def read_keyset(payload, **_):
    value = read_struct("keyset", payload)
    for role, rule in value["rules"].items():
        rule = bytes.fromhex(rule)
        bit = 1 << ROLES.index(role) - 1
        holders = [key["kind"] for key in value["keys"] if key["roles"] & bit]
        kinds = [TABLES["kind"][kind] for kind in rule[::2] if kind]
        require(set(kinds) == set(holders), "rules")
        require(rule[2] > rule[0] or rule[2] == rule[3] == 0, "rules")
        require(rule[0] or not any(rule), "rules")
        for kind, threshold in zip(kinds, rule[1::2]):
            require(1 <= threshold <= min(KINDS[kind][2], holders.count(kind)), "rules")
    return value


def open_keyset(data, device):
    """The keyset that the roots of the device signed, and what follows its envelope."""
    roots = device["trust"]["roots"]
    payload, _, rest = open_envelope(data, "keyset", ["root"], roots, device)
    keyset = read_keyset(payload)
    for key in keyset["keys"]:
        require(key["kind"] != "ed25519" or decode_point(bytes.fromhex(key["name"])), "name")
    return keyset, rest


def read_manifest(payload, **_):
    value = read_struct("manifest", payload)
    chunks = (-(-component["length"] // value["chunk_size"]) for component in value["components"])
    require(sum(chunks) <= 2**24, "components")
    return {**value, "digest": digest(payload)}


def check_device(manifest, device):
    require(manifest["product"] == device["product"], "product", "product")
    require(manifest["class"] == device["class"], "class", "content")
    revisions = range(manifest["revision_min"], manifest["revision_max"] + 1)
    require(device["revision"] in revisions, "revision", "content")
    found = {manifest["architecture"], device["architecture"]}
    require("any" in found or len(found) == 1, "architecture", "content")


def read_head(data, device, format, slot_kind="update", **_):
    """Keyset and manifest as they stand in front of a bundle and in a slot; all of a bundle."""
    has_roots = "roots" in device["trust"]
    roles = ["release", "edge-release"] if slot_kind == "update" else ["recovery"]
    if has_roots:
        keyset, rest = open_keyset(data, device)
    else:
        key = {"kind": "ed25519", "name": device["trust"]["key"], "roles": 0x03}
        keyset, rest, roles = {"rules": {roles[0]: "01010000"}, "keys": [key]}, data, roles[:1]
    payload, authority, rest = open_envelope(rest, "manifest", roles, keyset, device)
    manifest = read_manifest(payload)
    is_edge = manifest["channel"]["risk"] == "edge"
    require(authority != "edge-release" or is_edge, "risk", "signature")
    require(all(c["role"] != "loader" for c in manifest["components"]), "role", "content")
    check_device(manifest, device)
    if format == "bundle":
        check_components(manifest, rest)
    return {"keyset": keyset if has_roots else None, "manifest": manifest,
            "authority": authority if has_roots else "key", "length": len(data) - len(rest)}


def check_components(manifest, rest):
    """Indexes and chunks of all components, and the end of the stream."""
    size = manifest["chunk_size"]
    for component in manifest["components"]:
        length, cut = component["length"], 32 * -(-component["length"] // size)
        index, chunks, rest = rest[:cut], rest[cut:cut + length], rest[cut + length:]
        require(len(index) == cut, "index", "short")
        root = digest(b"stillboot-index-v1\0" + struct.pack("<QI", length, size) + index)
        require(root == component["index_root"], "index", "content")
        require(len(chunks) == length, "chunks", "short")
        found = "".join(digest(chunks[at:at + size]) for at in range(0, length, size))
        require(found == index.hex(), "chunks", "content")
        require(digest(chunks) == component["sha256"], "sha256", "content")
    require(not rest, "the end", "trailing")


def read_loader_release(data, device, **_):
    roots = device["trust"]["roots"]
    payload, _, rest = open_envelope(data, "loader-release", ["root"], roots, device)
    manifest = read_manifest(payload)
    found = [(c["role"], c["load"], c["linked"]) for c in manifest["components"]]
    require(found == [("loader", "late", "every")], "components", "content")
    check_device(manifest, device)
    check_components(manifest, rest)
    return manifest


def read_signed(data, device, format, head, **_):
    """An envelope under the keyset at the front of `head`, and nothing more."""
    keyset, _ = open_keyset(head, device)
    due, role = "channel-index", "channel"
    if format == "signed-statement":
        # What kind it is of says who must have signed it; it is believed only after that.
        kind = read_struct("statement", split_envelope(data, "statement")[1])["kind"]
        due, role = "statement", {"approval": "approver"}.get(kind, kind)
    payload, _, rest = open_envelope(data, due, [role], keyset, device)
    require(not rest, "envelope", "trailing")
    value = READERS[format.removeprefix("signed-")](payload)
    require(value["product"] == device["product"], "product", "product")
    return value


def read_mark(data, **_):
    require(len(data) >= 44, "mark", "short")
    kind = {b"SBCM": "committed", b"SBOK": "confirmed"}.get(data[:4])
    require(kind, "mark", "magic")
    require(crc32(data[:44]) == CRC_RESIDUE, "mark", "checksum")
    require(data[4:8] == b"\1\0\0\0", "version", "version")
    return {"kind": kind, "digest": data[8:40].hex()}


def read_record(data, **_):
    """The copy at the front of `data`; what follows is padding."""
    require(data[:1536] not in (bytes(1536), b"\xff" * 1536), "record", "blank")
    require(len(data) >= 16, "record", "short")
    magic, version, length, sequence = struct.unpack_from("<4sHHQ", data)
    require(magic == b"SBRC", "record", "magic")
    require(length <= 1516, "body_length")
    require(len(data) >= length + 20, "record", "short")
    require(crc32(data[:length + 20]) == CRC_RESIDUE, "record", "checksum")
    require(version == 1, "version", "version")
    require(sequence < 2**63, "sequence")
    body = read_struct("record", data[16:16 + length])
    return {"sequence": sequence, "length": length + 20, **body}


def log_generation(header):
    """That of a block by one of its headers; 0 if this is damaged."""
    magic, version, zero, generation = struct.unpack_from("<4sHHQ", header)
    if magic != b"SBLG" or crc32(header[:32]) != CRC_RESIDUE:
        return 0
    require(version == 1, "version", "version")
    return generation if not zero and not any(header[16:28]) and generation < 2**63 else 0


def read_cells(block, generation, cell_len, cells):
    """The sound entries of a log block, in order, without records that are not sound."""
    for at in cells:
        code, slot, component, zero, offset, count, crc = struct.unpack_from("<4B3I", block, at)
        if crc32(struct.pack("<Q", generation) + block[at:at + 12]) != crc:
            continue
        require(code in TABLES["cell"], "cell", "version")
        kind, end = TABLES["cell"][code], offset + count * cell_len
        is_inside = cells.start + cells.stop <= offset < end <= len(block)
        has_place = is_inside and offset % cell_len == 0 if code <= 3 else offset == count == 0
        has_name = slot < (1 if code == 1 else 4) and component < (8 if code == 3 else 1)
        if has_place and has_name and zero == 0:
            try:
                record = read_record(block[offset:end]) if kind == "record" else None
                yield (kind, TABLES["slot"][slot], component), (offset, end - offset), record
            except Refused as refused:
                if refused.args[0] == "version":
                    yield ("record", "a", 0), (offset, end - offset), refused


def read_log(data, block_len, granule, **_):
    """What is in force of log blocks of equal length that stand one after the other."""
    cell_len = max(16, granule)
    first = -(-32 // cell_len) * cell_len
    last = min(block_len // 8, 2048) // cell_len * cell_len - first
    blocks, found = [data[at:at + block_len] for at in range(0, len(data), block_len)], []
    for number, block in enumerate(blocks):
        found.append((-(log_generation(block) or log_generation(block[last:])), number, block))
    for generation, number, block in sorted(found):
        live, last_record = {}, None
        cells = range(first, last if generation else first, cell_len)
        for entry, place, record in read_cells(block, -generation, cell_len, cells):
            ends = {"head": ("index", "committed", "confirmed"),
                    "unmarked": ("committed", "confirmed")}.get(entry[0], ())
            live = {at: live[at] for at in live if at[0] not in ends or at[1] != entry[1]}
            live |= {entry: place} if entry[0] != "unmarked" else {}
            last_record = record or last_record
        if last_record is not None:
            require(not isinstance(last_record, Refused), "version", "version")
            return {"block": number, "generation": -generation, "sequence": last_record["sequence"],
                    "entries": [[*entry, *live[entry]] for entry in sorted(live)]}
    raise Refused("content", "record", None)


def read_proof(data, **_):
    match = re.fullmatch("1:(a|b|c|recovery):([0-9a-f]{64}):([0-9a-f]{2}):([0-9a-f]{16})"
                         ":([0-9a-f]{8}):([0-9a-f]{4}):([0-9a-f]{2})", data.decode("latin-1"))
    require(match, "proof", "malformed")
    names = "attempt nonce keyset_version record_version manifest_schema".split()
    numbers = dict(zip(names, (int(text, 16) for text in match.groups()[2:])))
    return {"slot": match[1], "digest": match[2], **numbers}


def read_lz4(data, length):
    """A block of LZ4."""
    stream, out = io.BytesIO(data), bytearray()

    def extended(nibble):
        more = nibble == 15
        while more:
            byte = take_bytes(stream, 1)[0]
            nibble, more = nibble + byte, byte == 255
        return nibble
    try:
        while True:
            token = take_bytes(stream, 1)[0]
            out += take_bytes(stream, extended(token >> 4))
            if stream.tell() == len(data):
                break
            back = int.from_bytes(take_bytes(stream, 2), "little")
            require(0 < back <= len(out), "lz4")
            for _ in range(extended(token & 15) + 4):
                out.append(out[-back])
                require(len(out) <= length, "lz4")
    except Refused:
        raise Refused("content", "lz4", None) from None
    return bytes(out)


def read_lzma(data, length):
    """A stream of LZMA behind its byte of parameters."""
    try:
        lc, rest = data[0] % 9, data[0] // 9
        lp, pb = rest % 5, rest // 5
        require(lc + lp <= 2 and pb <= 2, "lzma", "content")
        # The header of a .lzma file says how long it is, so that what is left over shows.
        decoder = lzma.LZMADecompressor(lzma.FORMAT_ALONE)
        out = decoder.decompress(struct.pack("<BIQ", data[0], 1 << 20, length) + data[1:])
        require(decoder.eof and not decoder.unused_data, "lzma", "content")
        return out
    except (lzma.LZMAError, EOFError, IndexError):
        raise Refused("content", "lzma", None) from None


def read_patch(data, length, at, old):
    """A patch frame, of a piece whose place among all components is `at`."""
    require(len(data) >= 3, "patch", "content")
    end = 3 + int.from_bytes(data[:3], "little")
    out = bytearray(read_lzma(data[3:end], length) if end > 3 else length)
    stream, here = io.BytesIO(data[end:]), 0
    while stream.tell() < len(data) - end:
        keep, more, move = (take_number(stream, 64) for _ in range(3))
        move = (move >> 1) ^ -(move & 1)
        here, at = here + keep, (at + keep + move) % 2**64
        require(more and here + more <= length and at + more <= len(old), "patch", "content")
        for step in range(more):
            out[here + step] = (out[here + step] + old[at + step]) % 256
        here, at = here + more, at + more
    return bytes(out)


def read_framed(data, old_length=0, **_):
    old = bytes(at % 251 for at in range(old_length))
    require(len(data) >= 80, "header", "short")
    magic, version, bits, count, zero, size, head, name, start = struct.unpack_from(
        "<4s4B2I32s32s", data)
    require(magic == b"SBFR", "magic", "magic")
    require(version == 1, "version", "version")
    require(1 <= count <= 8 and zero == 0, "header")
    require(bits < 0x80, "encoding", "unknown", 7)
    at = 80 + 8 * count
    require(len(data) >= at, "header", "short")
    lengths = struct.unpack_from(f"<{count}Q", data, 80)
    require(4096 <= size <= 1 << 20 and size & size - 1 == 0 and 1 <= head <= 24576, "header")
    require(all(1 <= length <= 1 << 48 for length in lengths), "header")
    require(any(start) or not bits & 0x60, "from")
    # Of each part: whether it has chunks, and its length.
    parts = [(False, head)]
    for length in lengths:
        parts += [(False, 32 * -(-length // size)), (True, length)]
    pieces, place = [], 0
    for has_chunks, length in parts:
        pieces += [(has_chunks, place + cut, min(size, length - cut))
                   for cut in range(0, length, size)]
        place += length if has_chunks else 0
    table = data[at:at + 4 * len(pieces)]
    require(len(table) == 4 * len(pieces), "table", "short")
    at, names, bundle = at + len(table), [], b""
    for number, (has_chunks, place, length) in enumerate(pieces):
        entry, = struct.unpack_from("<I", table, 4 * number)
        encoding, cut = entry >> 28, entry & 0x0FFFFFFF
        require(encoding < 7 and bits >> encoding & 1, "entry")
        names.append("raw zero lz4 zstd lzma patch absent".split()[encoding])
        require(has_chunks or names[-1] in ("raw", "absent"), "entry")
        require({"raw": cut == length, "zero": cut == 0, "absent": cut == 0}.get(
            names[-1], 0 < cut < length), "entry")
        require(len(data) >= at + 4 + cut, "frame", "short")
        require(data[at:at + 4] == table[4 * number:4 * number + 4], "entry")
        frame, at = data[at + 4:at + 4 + cut], at + 4 + cut
        # Python has no zstd of its own before version 3.14.
        piece = {"raw": lambda: frame, "zero": lambda: bytes(length), "absent": lambda: None,
                 "lz4": lambda: read_lz4(frame, length), "lzma": lambda: read_lzma(frame, length),
                 "patch": lambda: read_patch(frame, length, place, old)}[names[-1]]()
        require(piece is None or len(piece) == length, "frame", "content")
        bundle = None if piece is None or bundle is None else bundle + piece
    require(at == len(data), "the end", "trailing")
    return {"digest": name.hex(), "from": start.hex(), "chunk_size": size, "head_length": head,
            "components": list(lengths), "frames": names,
            "bundle": bundle if bundle is None else digest(bundle)}


READERS = {
    "envelope": lambda data, **_: split_envelope(data)[0],
    "keyset": read_keyset, "manifest": read_manifest, "index": read_index,
    "statement": lambda data, **_: read_struct("statement", data),
    "notes": lambda data, **_: read_struct("notes", data),
    "head": read_head, "bundle": read_head, "loader-release": read_loader_release,
    "signed-statement": read_signed, "signed-index": read_signed,
    "framed": read_framed, "mark": read_mark, "record": read_record, "log": read_log, "proof": read_proof,
}


def answer(path, **context):
    """What the reader says of a file, as in `expect` of a vector."""
    try:
        return {"ok": READERS[context["format"]](path.read_bytes(), **context)}
    except Refused as refused:
        kind, field, number = refused.args
        return {"refused": kind, "field": field, "number": number}


def check_vectors(folder):
    # Keys, and what only Linux reads, are not read here.
    document, faults = json.loads((folder / "vectors.json").read_text()), []
    vectors = [vector for vector in document["vectors"] if vector["format"] in READERS]
    for vector in vectors:
        device, expected = document["devices"].get(vector.get("device")), vector["expect"]
        head = (folder / vector["keyset"]).read_bytes() if "keyset" in vector else None
        found = answer(folder / vector["file"], **{**vector, "head": head, "device": device})
        if any(found.get(name) != expected[name] for name in expected):
            faults.append(f"{vector['file']}: expected {expected}, found {found}")
    print(*faults, f"{len(vectors)} vectors, {len(faults)} faults", sep="\n")
    return 1 if faults else 0


def judge(form):
    for name in sys.stdin.read().splitlines():
        found = answer(Path(name), format=form)
        text = json.dumps(found.get("ok"), sort_keys=True, ensure_ascii=False,
                          separators=(",", ":"))
        print(*["accept", digest(text.encode())] if "ok" in found else ["refuse", *found.values()])


if __name__ == "__main__":
    COMMANDS = {"vectors": lambda folder: check_vectors(Path(folder)), "judge": judge}
    sys.exit(COMMANDS[sys.argv[1]](sys.argv[2]) if len(sys.argv) == 3 else __doc__)
