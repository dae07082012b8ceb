"""Mutants that lack a statement or a named argument, and what no mutant is told apart by."""

from __future__ import annotations

import ast
from collections.abc import Iterator

_DROPPED = (ast.AugAssign, ast.Delete, ast.Raise, ast.Return)


def left_out(source: str) -> Iterator[str]:
    """The source without one statement of each kind that can go, or without one named argument."""
    tree = ast.parse(source)
    last = {id(f.body[-1]) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            node.values = []  # Python 3.11 has wrong places for what is in them
        if _can_go(node) and not (isinstance(node, ast.Return) and id(node) in last):
            yield _with(source, node, "pass")
        elif isinstance(node, ast.Call):
            for keyword in node.keywords:
                rest = [other for other in node.keywords if other is not keyword]
                call = ast.unparse(ast.Call(node.func, node.args, rest))
                yield _with(source, node, call)


def _can_go(node: ast.AST) -> bool:
    if isinstance(node, ast.Assign):
        return not isinstance(node.targets[0], ast.Name | ast.Tuple)
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call)
    return isinstance(node, _DROPPED)


def _with(source: str, node: ast.AST, text: str) -> str:
    """The source with other text in the place of a node."""
    lines = source.encode().splitlines(keepends=True)
    before = b"".join(lines[: node.lineno - 1]) + lines[node.lineno - 1][: node.col_offset]
    after = lines[node.end_lineno - 1][node.end_col_offset :] + b"".join(lines[node.end_lineno :])
    return (before + text.encode() + after).decode()


def meaning(source: str) -> str:
    """The code without types, docstrings, the words of errors, `frozen=` and `strict=`."""
    return ast.dump(_Bare().visit(ast.parse(source)))


class _Bare(ast.NodeTransformer):
    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(node.arg)

    def visit_arguments(self, node: ast.arguments) -> ast.arguments:
        node.args = [*node.posonlyargs, *node.args, *node.kwonlyargs]
        node.defaults = [*node.defaults, *filter(None, node.kw_defaults)]
        node.posonlyargs, node.kwonlyargs, node.kw_defaults = [], [], []
        self.generic_visit(node)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = None
        self.generic_visit(node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        node.annotation = ast.Constant(0)
        self.generic_visit(node)
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.Raise:
        exc = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return ast.Raise(exc)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        if "TYPE_CHECKING" in ast.dump(node.test):
            return None
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.Call:
        node.keywords = [k for k in node.keywords if k.arg not in {"frozen", "strict"}]
        self.generic_visit(node)
        return node
