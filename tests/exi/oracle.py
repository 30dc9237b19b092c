"""EXIficient (EXICodec.jar of PyPI iso15118) behind the two functions that a differential test needs.

Runs in the virtual environment that `make exi-oracle` makes (py4j and a Java runtime); nothing of it is part of the product.
"""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path
from typing import Any


def prepare_schemas(source: Path, target: Path) -> None:
    """Copies the schemas so that every import is found beside its file and nothing points to the web."""
    shutil.copytree(source, target, dirs_exist_ok=True)
    signature = target / "xmldsig-core-schema.xsd"
    signature.write_text(re.sub(r"<!DOCTYPE.*?\]>", "", signature.read_text(), flags=re.DOTALL))
    for folder in ("iso15118_20", "din_spec"):
        shutil.copy(signature, target / folder)


def extract_jar(wheel: Path, folder: Path) -> Path:
    """EXICodec.jar out of the wheel."""
    target = folder / "EXICodec.jar"
    if not target.is_file():
        with zipfile.ZipFile(wheel) as archive:
            target.write_bytes(archive.read("iso15118/shared/EXICodec.jar"))
    return target


class Oracle:
    """One Java virtual machine with the grammars of all schema sets."""

    def __init__(self, jar: Path, schemas: Path, roots: dict[str, str]) -> None:
        from py4j.java_gateway import JavaGateway

        self.gateway = JavaGateway.launch_gateway(
            classpath=str(jar), die_on_exit=True, javaopts=["--add-opens", "java.base/java.lang=ALL-UNNAMED", "-Xmx512m"]
        )
        self.jvm = self.gateway.jvm
        exi = self.jvm.com.siemens.ct.exi
        self.factories: dict[tuple[str, bool], Any] = {}
        for key, file in roots.items():
            grammars = exi.grammars.GrammarFactory.newInstance().createGrammars(str(schemas / file))
            for fragment in (False, True):
                factory = exi.core.helpers.DefaultEXIFactory.newInstance()
                factory.setGrammars(grammars)
                factory.setValuePartitionCapacity(0)
                factory.setFragment(fragment)
                self.factories[key, fragment] = factory
        parsers = self.jvm.javax.xml.parsers.SAXParserFactory.newInstance()
        parsers.setNamespaceAware(True)
        self.parsers = parsers
        self.transformer = self.jvm.javax.xml.transform.TransformerFactory.newInstance().newTransformer()
        self.codec = exi.main.cmd.EXICodec()

    def encode(self, key: str, xml: str, fragment: bool = False) -> bytes:
        result = self.jvm.com.siemens.ct.exi.main.api.sax.EXIResult(self.factories[key, fragment])
        out = self.jvm.java.io.ByteArrayOutputStream()
        result.setOutputStream(out)
        reader = self.parsers.newSAXParser().getXMLReader()
        reader.setContentHandler(result.getHandler())
        reader.parse(self.jvm.org.xml.sax.InputSource(self.jvm.java.io.StringReader(xml)))
        return bytes(out.toByteArray())

    def decode(self, key: str, data: bytes, fragment: bool = False) -> str:
        source = self.jvm.com.siemens.ct.exi.main.api.sax.EXISource(self.factories[key, fragment])
        source.setInputSource(self.jvm.org.xml.sax.InputSource(self.jvm.java.io.ByteArrayInputStream(data)))
        writer = self.jvm.java.io.StringWriter()
        self.transformer.transform(source, self.jvm.javax.xml.transform.stream.StreamResult(writer))
        return str(writer.toString())

    def close(self) -> None:
        self.gateway.shutdown()
