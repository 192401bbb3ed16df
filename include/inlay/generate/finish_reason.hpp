// Why a text ends where it does.
#ifndef INLAY_GENERATE_FINISH_REASON_HPP_
#define INLAY_GENERATE_FINISH_REASON_HPP_

#include <cstdint>
#include <string_view>

#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE

// Why a generation ended.
enum class FinishReason : std::uint8_t {
  kNone,        // it has not
  kEndOfText,   // the model ended the text or its turn
  kMaxTokens,   // GenerateOptions::max_tokens
  kStopString,  // one of GenerateOptions::stop
  kError,       // see Generation::status(): context full, cancelled, non-finite logits
};

constexpr std::string_view Name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone: return "none";
    case FinishReason::kEndOfText: return "end of text";
    case FinishReason::kMaxTokens: return "token limit";
    case FinishReason::kStopString: return "stop string";
    case FinishReason::kError: return "error";
  }
  return "unknown";
}

INLAY_END_NAMESPACE

#endif  // INLAY_GENERATE_FINISH_REASON_HPP_
