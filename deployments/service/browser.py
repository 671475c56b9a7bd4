"""Opens the Prefect UI in a person's browser, signed in."""

import os
import webbrowser
from pathlib import Path

from deployments.service.authentication import read_authentication, write_private
from deployments.service.sign_in import posting_page
from hybrid_ml.errors import BadInput

FILE = "sign-in.html"


def open_signed_in(data_dir: Path, ui_url: str) -> bool:
    """Open `ui_url` in a browser and sign it in; False where this machine has no browser.

    Raises BadInput where the string that `up` keeps is missing or the page for the browser cannot be written.
    """
    authentication = read_authentication(data_dir)
    if authentication is None:
        raise BadInput(
            f"there is no authentication string in {data_dir} that only you can read; restart `hybrid-ml up`"
        )
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    if type(browser) is webbrowser.GenericBrowser and "BROWSER" not in os.environ:
        return False  # a text browser, which runs no scripts
    page = data_dir / FILE
    try:
        write_private(page, posting_page(ui_url, authentication))
    except OSError as error:
        raise BadInput(f"{page} cannot be written ({error.strerror}); correct its folder's permissions") from None
    return bool(browser.open(page.as_uri()))
