// What can go wrong, as values: a code, the offending field, the byte offset in the input and a sentence for people.
#ifndef INLAY_CORE_STATUS_HPP_
#define INLAY_CORE_STATUS_HPP_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "inlay/core/macros.hpp"
#include "inlay/core/text_buffer.hpp"

INLAY_BEGIN_NAMESPACE

enum class ErrorCode : std::uint8_t {
  kInvalidArgument,   // the caller passed something the function cannot take
  kBadFile,           // the bytes contradict their format
  kTruncated,         // the bytes end before the format says they may
  kUnsupported,       // well-formed, but not something this library (or this model type) reads
  kMissing,           // a required key, tensor or token is absent
  kMismatch,          // present, but not what the configuration needs (shape, type, value)
  kTooLarge,          // a size or count is beyond what can be represented or was budgeted
  kOutOfMemory,       // the memory handed over is too small
  kContextFull,       // no position is left in the session's context
  kNonFinite,         // NaN or infinity where numbers are required
  kCancelled,         // the caller asked to stop
  kSystem,            // the operating system refused (open, map, write, ...)
};

constexpr std::string_view Name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument: return "invalid argument";
    case ErrorCode::kBadFile: return "bad file";
    case ErrorCode::kTruncated: return "truncated";
    case ErrorCode::kUnsupported: return "not supported";
    case ErrorCode::kMissing: return "missing";
    case ErrorCode::kMismatch: return "mismatch";
    case ErrorCode::kTooLarge: return "too large";
    case ErrorCode::kOutOfMemory: return "out of memory";
    case ErrorCode::kContextFull: return "context full";
    case ErrorCode::kNonFinite: return "not finite";
    case ErrorCode::kCancelled: return "cancelled";
    case ErrorCode::kSystem: return "system error";
  }
  return "unknown";
}

// Trivially copyable, no heap. `field` names the key, tensor or argument; `offset` is the byte in the input where the
// offence starts, or kNoOffset; `detail` says what was wrong and, where there is something to do, what to do.
struct [[nodiscard]] Error {
  static constexpr std::uint64_t kNoOffset = ~std::uint64_t{0};

  ErrorCode code = ErrorCode::kInvalidArgument;
  std::uint64_t offset = kNoOffset;
  TextBuffer<96> field;
  TextBuffer<192> detail;

  // "bad file: tensor blk.0.attn_q.weight: offset is not a multiple of 32 (at byte 1234)"
  constexpr TextBuffer<384> Message() const {
    TextBuffer<384> text(Name(code));
    if (!field.empty()) text.Append(": ").Append(field.view());
    if (!detail.empty()) text.Append(": ").Append(detail.view());
    if (offset != kNoOffset) text.Append(" (at byte ").Append(offset).Append(')');
    return text;
  }
};

// Builds an error; the detail is put together from text and integers: Fail(kMissing, key, "needed by ", architecture).
// Out of line and cold: a message is put together at hundreds of places, and inlined it was a sixth of a program.
template <class... Parts>
[[gnu::noinline, gnu::cold]] constexpr Error Fail(ErrorCode code, std::string_view field, const Parts&... detail) {
  Error error;
  error.code = code;
  error.field.Append(field);
  (error.detail.Append(detail), ...);
  return error;
}

template <class... Parts>
[[gnu::noinline, gnu::cold]] constexpr Error FailAt(ErrorCode code, std::uint64_t offset, std::string_view field,
                                                    const Parts&... detail) {
  Error error = Fail(code, field, detail...);
  error.offset = offset;
  return error;
}

INLAY_END_NAMESPACE

#endif  // INLAY_CORE_STATUS_HPP_
