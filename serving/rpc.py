"""What all services on the wire have in common: refusing, a model to answer from, requests that are none."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Never, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from serving.refresh import Follower
from serving.replica import Replica

Context = grpc.aio.ServicerContext[Any, Any]
AnyRequest = TypeVar("AnyRequest", bound=Message)


async def refuse(context: Context, code: grpc.StatusCode, message: str) -> Never:
    """End the call; does not return."""
    await context.abort(code, message)
    raise AssertionError("abort does not return")


async def loaded(follower: Follower, context: Context) -> Replica:
    """The replica that answers now; refuses where none has been loaded yet."""
    replica = follower.replica
    if replica is None:
        message = f"no model has been loaded yet: {follower.problem}"
        await refuse(context, grpc.StatusCode.UNAVAILABLE, message)
    return replica


def unary(
    request_type: type[AnyRequest], answer: Callable[[AnyRequest, Context], Awaitable[Message]]
) -> "grpc.RpcMethodHandler[Any, Any]":
    """A method with one reply whose undecodable requests are refused as the caller's mistake, not ours."""

    async def call(request: AnyRequest | DecodeError, context: Context) -> Message:
        return await answer(await _decoded(request, request_type, context), context)

    return grpc.unary_unary_rpc_method_handler(
        call, request_deserializer=_parser(request_type), response_serializer=_serialise
    )


def stream(
    request_type: type[AnyRequest], answers: Callable[[AnyRequest, Context], AsyncIterator[Message]]
) -> "grpc.RpcMethodHandler[Any, Any]":
    """The same for a method with a stream of replies."""

    async def call(request: AnyRequest | DecodeError, context: Context) -> AsyncIterator[Message]:
        async for reply in answers(await _decoded(request, request_type, context), context):
            yield reply

    return grpc.unary_stream_rpc_method_handler(
        call, request_deserializer=_parser(request_type), response_serializer=_serialise
    )


def _parser(request_type: type[AnyRequest]) -> Callable[[bytes], AnyRequest | DecodeError]:
    def parse(data: bytes) -> AnyRequest | DecodeError:
        try:
            return request_type.FromString(data)
        except DecodeError as error:
            return error

    return parse


async def _decoded(
    request: AnyRequest | DecodeError, request_type: type[AnyRequest], context: Context
) -> AnyRequest:
    if isinstance(request, DecodeError):
        name, file = request_type.DESCRIPTOR.full_name, request_type.DESCRIPTOR.file.name
        message = f"the request is no {name} ({request}): build it from {file}; ids are UTF-8"
        await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, message)
    return request


def _serialise(reply: Message) -> bytes:
    return reply.SerializeToString()
