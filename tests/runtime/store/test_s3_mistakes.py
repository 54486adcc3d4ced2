"""What users get wrong with S3: one line each, and no secret in any of them."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from dropping_proxy import DroppingProxy
from http_servers import ClosingServer, served_at
from made_trees import BUCKET, make_tree, verified_digest
from swift_server import SwiftServer

from components.contracts.artifact import digest
from components.contracts.errors import InputError, SkeletonAgentError
from components.runtime.store import store_for
from components.runtime.store.connection import Settings
from components.runtime.store.s3 import S3Store

URI = f"s3://{BUCKET}/mistakes"


def refusal(uri: str, tmp_path: Path, secret: str = "") -> str:
    """Return the message of fetching, which is that of checking an output too, if the place can be used at all."""
    with pytest.raises(SkeletonAgentError) as caught:
        S3Store(patience=0.5).fetch(uri, tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert not secret or secret not in message
    return message


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_missing_credentials(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.delenv(name)
    with pytest.raises(InputError, match=f"^S3 credentials: environment variable not set: {name}$"):
        store_for(URI)


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"])
def test_credentials_with_a_line_break(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.setenv(name, "geheim\n")
    with pytest.raises(InputError, match=f"^{name}: contains white space or a line break$"):
        store_for(URI)


@pytest.mark.parametrize(
    ("name", "value"), [("AWS_SECRET_ACCESS_KEY", "geheim-1234567890"), ("AWS_ACCESS_KEY_ID", "test:nobody")]
)
def test_wrong_credentials(
    environment: pytest.MonkeyPatch, swift: SwiftServer, tmp_path: Path, name: str, value: str
) -> None:
    environment.setenv(name, value)
    secret = value if name == "AWS_SECRET_ACCESS_KEY" else swift.secret_key
    message = refusal(URI, tmp_path, secret)
    expected = f"{swift.endpoint} refuses the credentials of AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"
    assert message == f"{URI}: {expected} (SignatureDoesNotMatch)"
    with pytest.raises(InputError, match="refuses the credentials"):
        store_for(URI).check(URI)


def test_a_missing_bucket(environment: pytest.MonkeyPatch, swift: SwiftServer, tmp_path: Path) -> None:
    uri = "s3://no-such-bucket/x"
    assert refusal(uri, tmp_path) == f"{uri}: no bucket 'no-such-bucket' at {swift.endpoint}"
    for action in (
        lambda: store_for(uri).check(uri),
        lambda: store_for(uri).exists(uri),
        lambda: store_for(uri).publish(make_tree(tmp_path / "made", {}), uri),
    ):
        with pytest.raises(InputError, match="no bucket 'no-such-bucket'"):
            action()


def test_a_place_that_can_be_used_passes_the_check(environment: pytest.MonkeyPatch) -> None:
    store_for(URI).check(URI)


def test_an_endpoint_where_nobody_listens(environment: pytest.MonkeyPatch, tmp_path: Path, nobody: str) -> None:
    environment.setenv("S3_ENDPOINT", nobody)
    assert refusal(URI, tmp_path) == f"{URI}: {nobody} cannot be reached: Connection refused"


def test_an_endpoint_with_no_address(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("S3_ENDPOINT", "http://no-such-host.invalid:9000")
    assert f"{URI}: http://no-such-host.invalid:9000 cannot be reached: " in refusal(URI, tmp_path)


PAGE = "<html>hello</html>"
DENIED = "<Error><Code>AccessDenied</Code><Message>html</Message></Error>"
EXPIRED = "<Error><Code>ExpiredToken</Code><Message>html</Message></Error>"
OTHER = "<Error><Code>KeyTooLongError</Code><Message>Your key\nis too long</Message></Error>"


@pytest.mark.parametrize(
    ("status", "content", "expected"),
    [
        (200, PAGE, "does not answer like an S3 server; check S3_ENDPOINT"),
        (404, PAGE, "does not answer like an S3 server; check S3_ENDPOINT"),
        (503, PAGE, "cannot be reached: HTTP 503"),
        (403, DENIED, "denies access to it with these credentials"),
        (400, EXPIRED, "refuses the credentials of AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY (ExpiredToken)"),
        (400, OTHER, "KeyTooLongError: Your key is too long"),
    ],
)
def test_other_answers(
    environment: pytest.MonkeyPatch, tmp_path: Path, status: int, content: str, expected: str
) -> None:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if content is PAGE else "application/xml")
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, *_: object) -> None:
            pass

    with served_at(ClosingServer(("127.0.0.1", 0), Page)) as url:
        environment.setenv("S3_ENDPOINT", url)
        message = refusal(URI, tmp_path)
    assert message.endswith(expected) and "html" not in message


@pytest.mark.parametrize("endpoint", ["localhost:9000", "ftp://host", "http://", "http://host/path", "http://u:p@host"])
def test_an_endpoint_that_is_no_url(environment: pytest.MonkeyPatch, endpoint: str) -> None:
    environment.setenv("S3_ENDPOINT", endpoint)
    with pytest.raises(InputError, match=r"^S3_ENDPOINT: "):
        store_for(URI)


@pytest.mark.parametrize("uri", ["s3://", "s3:x", "s3://bucket", "s3://bucket/", "s3://Bucket/x", "s3://bucket/../x"])
def test_uris_that_are_none(environment: pytest.MonkeyPatch, tmp_path: Path, uri: str) -> None:
    assert refusal(uri, tmp_path).startswith(f"{uri}: expected s3://bucket/prefix")


@pytest.mark.parametrize(("name", "value"), [("AWS_CA_BUNDLE", "/no/such/file"), ("S3_PATH_STYLE", "maybe")])
def test_other_settings(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    with pytest.raises(InputError, match=f"^{name}: "):
        store_for(URI)


def test_settings_hide_the_secrets(environment: pytest.MonkeyPatch, swift: SwiftServer) -> None:
    environment.setenv("AWS_SESSION_TOKEN", "token-of-this-session")
    settings = Settings.read()
    assert settings.session_token == "token-of-this-session"
    shown = repr(settings)
    assert not any(secret in shown for secret in (swift.secret_key, swift.access_key, "token-of"))


class TestTLS:
    @pytest.fixture
    def certificate(self, tmp_path: Path) -> Path:
        """A self-signed certificate for 127.0.0.1, with its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
        now = datetime.datetime.now(datetime.UTC)
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(
            now + datetime.timedelta(days=1)
        )
        made = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
        plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        file = tmp_path / "certificate.pem"
        file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(*plain))
        return file

    def test_the_bundle_names_whom_to_trust(
        self, swift: SwiftServer, prefix: str, environment: pytest.MonkeyPatch, certificate: Path, tmp_path: Path
    ) -> None:
        proxy = DroppingProxy(swift.port, certificate)
        environment.setenv("S3_ENDPOINT", proxy.endpoint)
        assert "its certificate is not trusted" in refusal(prefix, tmp_path, swift.secret_key)
        environment.setenv("AWS_CA_BUNDLE", str(certificate))
        made = make_tree(tmp_path / "made", {"a": b"a"})
        store_for(prefix).publish(made, prefix)
        assert verified_digest(store_for(prefix).fetch(prefix, tmp_path / "into")) == digest(made)
        proxy.close()
