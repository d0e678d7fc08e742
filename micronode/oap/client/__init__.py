"""An OAP/1 client for embedders and for ``micronode call``: what is named here is for them.

::

    client = await connect(reactor, "oap://127.0.0.1:5312")
    response = await client.call(Profile.SEARCH, "query", {"q": "reactor"})
    print(await response.read(1 << 20))
    await client.close()
"""

from micronode.oap.client.backoff import Backoff
from micronode.oap.client.client import OAPClient, connect
from micronode.oap.client.errors import OAPError
from micronode.oap.client.response import OAPResponse
from micronode.oap.client.stream import OAPStream
from micronode.oap.client.subscription import Subscription

__all__ = ["Backoff", "OAPClient", "OAPError", "OAPResponse", "OAPStream", "Subscription", "connect"]
