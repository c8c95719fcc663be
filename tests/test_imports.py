"""The import rule of ARCHITECTURE.md and what else a module may not do, over all product modules; deferred imports counted."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "schemas": {"schemas"},
    "models": {"models"},
    "streams": {"streams", "models", "schemas"},
    "sinks": {"sinks", "schemas"},
    "deploy": {"deploy", "schemas"},
}
AVRO = {"schemas/codec.py", "schemas/compatibility.py"}
ENVIRONMENT = {"deploy/cli.py"}
PEERS = "deploy/benchmarks/peers/"
"""Programs beside which ours are measured, run in an environment of their own: no module of ours imports them, and they import none."""
NAMES_THAT_SAY_NOTHING = {"utils", "util", "common", "base", "helpers", "helper", "types", "constants", "misc"}
STARTERS = {
    "Thread", "Timer", "ThreadPoolExecutor", "ProcessPoolExecutor", "Process", "Popen", "run", "check_output", "check_call", "call",
    "start", "create_task", "run_until_complete", "connect", "get_client", "create_client", "socket", "create_connection",
    "App", "AIOKafkaConsumer", "AIOKafkaProducer", "AIOKafkaAdminClient", "Client", "AsyncClient", "urlopen", "Session",
}  # fmt: skip
"""Last names of calls that start or connect something."""


@dataclass(frozen=True)
class Module:
    """One product file."""

    path: str
    """From the top of the repository."""
    tree: ast.Module

    @property
    def package(self) -> str:
        return self.path.split("/")[0]


def modules() -> list[Module]:
    files = [f for package in MAY_IMPORT for f in sorted((ROOT / package).rglob("*.py")) if not f.as_posix().startswith(f"{ROOT}/{PEERS}")]
    return [Module(f.relative_to(ROOT).as_posix(), ast.parse(f.read_text(encoding="utf-8"), str(f))) for f in files]


MODULES = modules()


def imports(module: Module) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything imported, at the top, in functions, and by name through importlib."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")
        elif isinstance(node, ast.Call) and _last_name(node.func) in ("import_module", "__import__") and node.args:
            name = node.args[0]
            yield node.lineno, str(name.value) if isinstance(name, ast.Constant) else "?"


def _last_name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _is_main_guard(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Compare) and _last_name(node.test.left) == "__name__"


def _report(found: Iterator[str]) -> None:
    broken = list(found)
    assert not broken, "\n" + "\n".join(broken)


def test_packages_import_only_what_the_rule_allows() -> None:
    def broken() -> Iterator[str]:
        for module in MODULES:
            for line, name in imports(module):
                first = name.split(".")[0]
                if first in MAY_IMPORT and first not in MAY_IMPORT[module.package]:
                    yield f"{module.path}:{line} imports {name}; {module.package} may import {', '.join(sorted(MAY_IMPORT[module.package]))}"

    _report(broken())


def test_imports_are_absolute_and_written_out() -> None:
    _report(f"{m.path}:{line} imports {name!r}" for m in MODULES for line, name in imports(m) if name.startswith(".") or name in ("?", "*"))


def test_tests_are_not_imported_by_the_product() -> None:
    _report(f"{m.path}:{line} imports {name}" for m in MODULES for line, name in imports(m) if name.split(".")[0] == "tests")


def test_only_the_codec_knows_avro() -> None:
    _report(
        f"{m.path}:{line} imports {name}; leave bytes to schemas/codec.py"
        for m in MODULES
        for line, name in imports(m)
        if name.split(".")[0] in ("avro", "fastavro") and m.path not in AVRO
    )


def test_only_models_and_inference_touch_tensors() -> None:
    _report(
        f"{m.path}:{line} imports {name}; leave tensors to models"
        for m in MODULES
        for line, name in imports(m)
        if name.split(".")[0] == "torch" and m.package != "models" and m.path != "streams/inference.py"
    )


def test_only_the_entry_points_read_the_environment() -> None:
    def broken() -> Iterator[str]:
        for module in MODULES:
            if module.path in ENVIRONMENT or module.path.endswith("/__main__.py"):
                continue
            guarded = {id(n) for guard in module.tree.body if _is_main_guard(guard) for n in ast.walk(guard)}
            for node in ast.walk(module.tree):
                reads = isinstance(node, ast.Attribute | ast.Name) and _last_name(node) in ("environ", "environb", "getenv", "putenv")
                of_os = not isinstance(node, ast.Attribute) or _last_name(node.value) == "os"
                if reads and of_os and id(node) not in guarded and not _is_own_name(module, node):
                    yield f"{module.path}:{node.lineno} reads the environment; take the value as an argument"  # type: ignore[attr-defined]

    _report(broken())


def _is_own_name(module: Module, node: ast.AST) -> bool:
    """A bare `environ` is an argument unless it was imported from os."""
    if isinstance(node, ast.Attribute):
        return False
    taken = [a.name for n in ast.walk(module.tree) if isinstance(n, ast.ImportFrom) and n.module == "os" for a in n.names]
    return _last_name(node) not in taken


def test_every_file_name_says_what_is_in_it() -> None:
    _report(m.path for m in MODULES if Path(m.path).stem in NAMES_THAT_SAY_NOTHING)


def test_every_module_begins_with_its_idea() -> None:
    _report(f"{m.path} has no docstring" for m in MODULES if not ast.get_docstring(m.tree))


def test_packages_hold_only_a_docstring_in_their_init() -> None:
    _report(m.path for m in MODULES if m.path.endswith("__init__.py") and len(m.tree.body) > 1)


def test_importing_calls_nothing_that_starts_or_connects() -> None:
    _report(
        f"{m.path}:{call.lineno} calls {ast.unparse(call.func)} at import"
        for m in MODULES
        for call in _calls_at_import(m.tree)
        if _last_name(call.func) in STARTERS
    )


def _calls_at_import(node: ast.AST) -> Iterator[ast.Call]:
    """Calls outside of functions and of the main guard; class bodies, decorators and defaults run at import too."""
    for child in ast.iter_child_nodes(node):
        if _is_main_guard(child) or isinstance(child, ast.Lambda):
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            at_import = [*child.decorator_list, *child.args.defaults, *(d for d in child.args.kw_defaults if d)]
            for part in at_import:
                yield from (n for n in ast.walk(part) if isinstance(n, ast.Call))
            continue
        if isinstance(child, ast.Call):
            yield child
        yield from _calls_at_import(child)


IMPORT_ALL = """
import importlib, json, sys, threading
import psutil
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
me = psutil.Process()
print(json.dumps({
    "threads": [t.name for t in threading.enumerate() if t is not threading.main_thread()],
    "children": [" ".join(c.cmdline()) for c in me.children(recursive=True)],
    "sockets": [str(c.laddr) for c in me.net_connections()],
}))
"""


def test_importing_everything_leaves_no_thread_child_or_socket() -> None:
    names = [m.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for m in MODULES]
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL, json.dumps(names)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"threads": [], "children": [], "sockets": []}


def test_peers_of_the_benchmark_know_nothing_of_ours() -> None:
    for file in sorted((ROOT / PEERS).glob("*.py")):
        module = Module(file.relative_to(ROOT).as_posix(), ast.parse(file.read_text(encoding="utf-8"), str(file)))
        assert not {name.split(".")[0] for _, name in imports(module)} & set(MAY_IMPORT), file.name
