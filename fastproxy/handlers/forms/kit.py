"""What all forms of one route share."""

from collections.abc import Callable
from dataclasses import dataclass, field

from fastproxy.config.schema import FormRoute
from fastproxy.errors import BadForm, FastproxyError
from fastproxy.exchange import Exchange
from fastproxy.handlers.forms.listing import Lister
from fastproxy.handlers.forms.window import FormWindow
from fastproxy.handlers.uploads.kit import UploadKit
from fastproxy.uploads.form import FieldBudget, FormFields
from fastproxy.wire.multipart import FormLimits, FormParser
from fastproxy.wire.part_head import boundary_of


@dataclass
class FormKit:
    """`uploads`: of its files. `field_budget`: of all forms of the worker."""

    route: FormRoute
    uploads: UploadKit
    field_budget: FieldBudget
    lister: Lister | None = None  # of archives
    window: FormWindow = field(init=False)
    limits: FormLimits = field(init=False)

    def __post_init__(self) -> None:
        route = self.route
        self.limits = FormLimits(route.max_part_head, route.max_name)
        # A head that is not whole, or what may be a boundary, is there again with the next bytes.
        self.window = FormWindow(max(route.max_part_head, 256) + 4)

    def fields(self, on_short: Callable[[FastproxyError], None]) -> FormFields:
        """Of a new form. `on_short`: see FormFields."""
        route = self.route
        return FormFields(route.max_fields, route.max_fields_size, self.field_budget, on_short)

    def parser_for(self, exchange: Exchange) -> FormParser | None:
        """None for a request that has no form. Raises BadForm."""
        headers = exchange.head.headers
        types = [value for name, value in headers if name.lower() == b"content-type"]
        boundary = boundary_of(b", ".join(types))
        if boundary is None or not exchange.head.has_body:
            return None
        coding = exchange.head.header(b"content-encoding") or b"identity"
        if coding.strip().lower() != b"identity":
            raise BadForm("Content-Encoding: a compressed form is not taken")
        return FormParser(boundary, self.limits)
