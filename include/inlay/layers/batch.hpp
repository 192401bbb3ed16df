// What one forward pass works on: the new tokens of one or more sequences, each with its own cache.
#ifndef INLAY_LAYERS_BATCH_HPP_
#define INLAY_LAYERS_BATCH_HPP_

#include <cstddef>
#include <cstdint>
#include <span>

#include "inlay/core/macros.hpp"
#include "inlay/core/token.hpp"
#include "inlay/layers/sequence_cache.hpp"
#include "inlay/weights/adapter.hpp"

INLAY_BEGIN_NAMESPACE

// Whose logits, or hidden states, a pass computes.
enum class Outputs : std::uint8_t {
  kNone,  // only the cache is filled
  kLast,  // the last token of the sequence
  kAll,   // every token
};

// What a pass leaves behind: logits in scratch.logits, or hidden states in scratch.normalized.
enum class PassResult : std::uint8_t { kLogits, kHidden };

// The next tokens of one sequence. They take the positions from cache->length() on. Does not own.
struct SequenceInput {
  SequenceCache* cache = nullptr;
  std::span<const TokenId> tokens;
  Outputs outputs = Outputs::kLast;
  const Adapters* adapters = nullptr;  // what the sequence runs with; nullptr: nothing
};

constexpr std::size_t OutputCount(const SequenceInput& sequence) {
  switch (sequence.outputs) {
    case Outputs::kNone: return 0;
    case Outputs::kLast: return sequence.tokens.empty() ? 0 : 1;
    case Outputs::kAll: return sequence.tokens.size();
  }
  return 0;
}

INLAY_END_NAMESPACE

#endif  // INLAY_LAYERS_BATCH_HPP_
