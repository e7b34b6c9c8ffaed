"""The part of CEL in which a provider's condition and mapping are written here.

Source: https://cloud.google.com/iam/docs/workload-identity-federation#mapping: `assertion.NAME`,
strings, ==, !=, +, && and ||.
"""

import ast
from typing import Any

from emulators.appengine.wire import ApiError


def evaluate(expression: str, claims: dict[str, Any]) -> Any:
    """Evaluate the part of CEL that conditions and mappings of ours need; refuse the rest.

    https://cloud.google.com/iam/docs/workload-identity-federation#mapping: `assertion.NAME`,
    strings, ==, !=, +, && and ||. Written with `and` and `or`, that is Python's grammar.
    """
    tree = ast.parse(expression.replace("&&", " and ").replace("||", " or "), mode="eval").body

    def value(node: ast.expr) -> Any:  # noqa: PLR0911 - one per kind
        match node:
            case ast.Constant():
                return node.value
            case ast.Name(id="true" | "false"):
                return node.id == "true"
            case ast.Attribute(value=ast.Name(id="assertion")):
                return claims[node.attr]
            case ast.BinOp(op=ast.Add()):
                return value(node.left) + value(node.right)
            case ast.Compare(ops=[ast.Eq()]):
                return value(node.left) == value(node.comparators[0])
            case ast.Compare(ops=[ast.NotEq()]):
                return value(node.left) != value(node.comparators[0])
            case ast.BoolOp(op=ast.And()):
                return all(value(each) for each in node.values)
            case ast.BoolOp():
                return any(value(each) for each in node.values)
        raise ApiError(400, f"This part of CEL is not modelled: {ast.unparse(node)}")

    return value(tree)
