"""Reads the inputs of a live configuration: a ConfigMap from the API, the folder of a mounted ConfigMap, or one file.

This module gets the contents of files and ConfigMaps from the code that watches them. The module `read` defines the
meaning of the texts.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from pydns.config import document, kube_dns, node
from pydns.config.document import MAX_TEXT
from pydns.config.mistakes import ConfigError
from pydns.config.node import Scalar
from pydns.config.read import (
    ANYWHERE,
    COREDNS_KEY,
    YAML_KEY,
    ZONE_ENDING,
    Accepted,
    Refused,
    Surroundings,
    read,
    read_corefile,
    read_text,
)
from pydns.config.shapes import found, found_key

KEYS = (YAML_KEY, *kube_dns.KEYS)
# The most octets that are read from a file. If a file has more octets, it has more characters than `MAX_TEXT`.
MAX_OCTETS = 4 * MAX_TEXT


def wanted(names: Iterable[str]) -> set[str]:
    """Return the files of a folder that must be read.

    If a `config.yaml` or a Corefile is used, it may name any file, so all files must be read.
    """
    found = set(names)
    if YAML_KEY in found:
        return found - {COREDNS_KEY}
    if has_imports(found):
        return found
    return {each for each in found if each in KEYS or each.endswith(ZONE_ENDING)}


def has_imports(names: Collection[str]) -> bool:
    """Return whether the Corefile is the configuration of a folder with these files.

    If so, the Corefile may import files from sub-folders.
    """
    return COREDNS_KEY in names and not set(names) & set(KEYS)


def is_import(name: str) -> bool:
    """Return whether a file in a sub-folder may be imported.

    A file with the name of a configuration may not be imported.
    """
    return name not in (*KEYS, COREDNS_KEY)


def read_config_map(
    data: Mapping[str, str], binary: Collection[str] = (), surroundings: Surroundings = ANYWHERE
) -> Accepted | Refused:
    """Read the texts of a ConfigMap. `binary` contains the keys whose values aren't texts."""
    errors = [_not_text(key) for key in (*KEYS, COREDNS_KEY) if key in binary]
    result = read(data, surroundings, binary)
    if errors:
        return Refused((*errors, *(result.errors if isinstance(result, Refused) else ())))
    return result


def read_folder(files: Mapping[str, bytes], surroundings: Surroundings = ANYWHERE) -> Accepted | Refused:
    """Read the files of a folder as the keys of a ConfigMap.

    `files` maps names to contents. If there are no files, the result has the defaults.
    """
    # A file that was cut off after `MAX_OCTETS` is treated like a file that isn't text. For a configuration, `read`
    # checks a smaller limit.
    whole = {name for name, raw in files.items() if len(raw) < MAX_OCTETS or name in (*KEYS, COREDNS_KEY)}
    texts = {name: _text(raw) if name in whole else None for name, raw in files.items()}
    binary = [name for name, text in texts.items() if text is None]
    return read_config_map({name: text for name, text in texts.items() if text is not None}, binary, surroundings)


def read_file(source: str, raw: bytes, surroundings: Surroundings = ANYWHERE) -> Accepted | Refused:
    """Read a file: a `config.yaml`, manifests of ConfigMaps, or a Corefile. Each error begins with `source`."""
    text = _text(raw)
    if text is None:
        return Refused((_not_text(source),))
    if is_corefile(source, text):
        return read_corefile(source, text, {}, surroundings)
    roots = document.all_from_yaml(source, text)
    if isinstance(roots, ConfigError):
        return Refused((roots,))
    if not roots or _kind(roots[0]) is None:
        return read_text(source, text)
    manifests = _config_maps(source, roots)
    if isinstance(manifests, ConfigError):
        return Refused((manifests,))
    return _read_manifests(source, manifests, surroundings)


def _config_maps(source: str, roots: Sequence[node.Node]) -> list[node.Mapping] | ConfigError:
    """Return the ConfigMaps in these documents, and in documents of the kind List."""
    found_maps: list[node.Mapping] = []
    for root in roots:
        kind = _kind(root)
        if kind is None:
            return ConfigError(f"{source}:{root.line}", "a second document", "allowed")
        assert isinstance(root, node.Mapping)
        items = _field(root, "items") if kind.value in ("List", "ConfigMapList") else node.Sequence([root], root.line)
        if not isinstance(items, node.Sequence) or not items.items:
            return ConfigError(
                f"{source}:{kind.line}", f"a manifest of kind {found(kind)} without items", "a ConfigMap"
            )
        for item in items.items:
            item_kind = _kind(item)
            if not isinstance(item, node.Mapping) or item_kind is None:
                return ConfigError(f"{source}:{item.line}", found(item), "a ConfigMap")
            if item_kind.value != "ConfigMap":
                place = f"{source}:{item_kind.line}"
                return ConfigError(place, f"a manifest of kind {found(item_kind)}", "a ConfigMap")
            found_maps.append(item)
    return found_maps


def is_corefile(source: str, text: str) -> bool:
    """Return whether a file is a Corefile: it has the name of a Corefile, or its first line opens a server block."""
    if source == COREDNS_KEY or source.endswith(f".{COREDNS_KEY}"):
        return True
    first = next((line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")), "")
    return _OPENS_BLOCK.fullmatch(first) is not None


_OPENS_BLOCK = re.compile(r"\s*[^\s{}\[\]\"'][^{}]*(?<!:)[ \t]\{\s*(#.*)?")


def _kind(root: node.Node) -> Scalar | None:
    """Return the kind of a Kubernetes manifest, or None if the document is not a manifest."""
    if not isinstance(root, node.Mapping):
        return None
    kind = _field(root, "kind")
    is_manifest = isinstance(kind, Scalar) and (kind.value == "ConfigMap" or _field(root, "apiVersion") is not None)
    return kind if isinstance(kind, Scalar) and is_manifest else None


def _field(mapping: node.Mapping, name: str) -> node.Node | None:
    return {key.text: value for key, value in mapping.entries if isinstance(key, Scalar)}.get(name)


def _read_manifests(source: str, manifests: Sequence[node.Mapping], surroundings: Surroundings) -> Accepted | Refused:
    """Read ConfigMaps: the first ConfigMap is the configuration, and the others have files that its Corefile
    imports.
    """
    data: dict[str, str] = {}
    binary: list[str] = []
    errors: list[ConfigError] = []
    for manifest in manifests:
        further, further_binary = _texts(source, manifest, errors)
        binary += [key for key in further_binary if key not in data]
        data = further | data
    result = read_config_map(data, binary, surroundings)
    if errors:
        return Refused((*errors, *(result.errors if isinstance(result, Refused) else ())))
    return result


def _texts(source: str, manifest: node.Mapping, errors: list[ConfigError]) -> tuple[dict[str, str], list[str]]:
    """Return the texts of a ConfigMap, and the keys of its other values. Add mistakes to `errors`."""
    data: dict[str, str] = {}
    binary: list[str] = []
    for section, value in manifest.entries:
        section_name = section.text if isinstance(section, Scalar) else ""
        if section_name not in ("data", "binaryData") or (isinstance(value, Scalar) and value.value is None):
            continue
        if not isinstance(value, node.Mapping):
            errors.append(ConfigError(f"{source}:{value.line}: {section_name}", found(value), "a mapping of texts"))
            continue
        for key, text in value.entries:
            if section_name == "binaryData":
                binary.append(key.text if isinstance(key, Scalar) else "")
            elif isinstance(key, Scalar) and isinstance(text, Scalar) and isinstance(text.value, str):
                data[key.text] = text.value
            else:
                errors.append(ConfigError(f"{source}:{key.line}: data[{found_key(key)}]", found(text), "a text"))
    return data, binary


def _text(raw: bytes) -> str | None:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _not_text(where: str) -> ConfigError:
    return ConfigError(where, "the content", "text in UTF-8")
