"""What all forms of one route share."""

from dataclasses import dataclass, field

from fastproxy.config.schema import FormRoute
from fastproxy.errors import BadForm
from fastproxy.exchange import Exchange
from fastproxy.handlers.form_listing import Lister
from fastproxy.handlers.form_window import FormWindow
from fastproxy.handlers.upload_kit import UploadKit
from fastproxy.uploads.form import FormFields, Purse
from fastproxy.wire.multipart import FormLimits, FormParser
from fastproxy.wire.part_head import boundary_of


@dataclass
class FormKit:
    """`uploads`: of its files. `purse`: of all forms of the worker."""

    route: FormRoute
    uploads: UploadKit
    purse: Purse
    lister: Lister | None = None  # of archives
    window: FormWindow = field(init=False)
    limits: FormLimits = field(init=False)

    def __post_init__(self) -> None:
        route = self.route
        self.limits = FormLimits(route.max_part_head, route.max_name)
        # A head that is not whole, or what may be a boundary, is there again with the next bytes.
        self.window = FormWindow(max(route.max_part_head, 256) + 4)

    def fields(self) -> FormFields:
        """Of a new form."""
        return FormFields(self.route.max_fields, self.route.max_fields_size, self.purse)

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
