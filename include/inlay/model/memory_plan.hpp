// How many bytes a model and a session take, exactly, before any is taken.
#ifndef INLAY_MODEL_MEMORY_PLAN_HPP_
#define INLAY_MODEL_MEMORY_PLAN_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "inlay/config/model_config.hpp"
#include "inlay/core/arena.hpp"
#include "inlay/core/checked.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/formats/kv_type.hpp"
#include "inlay/kernels/kv_layout.hpp"
#include "inlay/layers/sequence_cache.hpp"
#include "inlay/layers/scratch.hpp"
#include "inlay/weights/adapter.hpp"

INLAY_BEGIN_NAMESPACE

// What the host decides about a session. Zero means: the model's own, or the default named.
struct SessionOptions {
  std::size_t context = 0;  // positions of the cache; 0: the model's trained context
  std::size_t batch = 128;  // most tokens of one pass; longer prompts are fed in pieces, with the same result
  std::size_t outputs = 1;  // most positions of one pass whose logits are kept (batch: all of them)
  std::size_t threads = 4;  // most threads that attend at once; an executor with more is used by everything else
  KvType kv = KvType::kF16;
  std::size_t adapter_rank = 0;  // most ranks of the low-rank adapters of a sequence together; 0: none is used

  constexpr std::size_t ContextFor(const ModelConfig& config) const { return context == 0 ? config.context : context; }
};

// Bytes of memory that starts at a multiple of kAlignment.
struct MemoryPlan {
  std::size_t weights = 0;   // the packed buffer: in the file, in flash or on the heap
  std::size_t kv_cache = 0;  // per sequence
  std::size_t scratch = 0;   // of a forward pass
  // What the host hands over to a session.
  constexpr std::size_t session() const { return kv_cache + scratch; }
  constexpr std::size_t total() const { return weights + session(); }
};

// Session memory of a model; `kinds` are the representations its matrices multiply with. Errors: an option out of range.
constexpr Result<ScratchShape> PlanScratch(const ModelConfig& config, const SessionOptions& options,
                                           ActivationKinds kinds) {
  const std::size_t context = options.ContextFor(config);
  if (context == 0 || context > kMaxContext) {
    return Fail(ErrorCode::kInvalidArgument, "context", "must be 1 .. 2^28");
  }
  if (options.batch == 0 || options.batch > 65536) {
    return Fail(ErrorCode::kInvalidArgument, "batch", "must be 1 .. 65536");
  }
  if (options.threads == 0 || options.threads > 1024) {
    return Fail(ErrorCode::kInvalidArgument, "threads", "must be 1 .. 1024");
  }
  if (options.adapter_rank > kMaxLoraRank) {
    return Fail(ErrorCode::kInvalidArgument, "adapter_rank", "must be at most ", kMaxLoraRank);
  }
  if (options.outputs == 0) return Fail(ErrorCode::kInvalidArgument, "outputs", "must be at least 1");
  // Everything else is far from overflow (see config/model_config.hpp); many layers of a long context are not.
  std::uint64_t bytes = 2 * sizeof(float) * std::uint64_t{config.layers};
  if (!CheckedMultiply(bytes, KvCapacity(context), bytes) ||
      !CheckedMultiply(bytes, std::max(config.kv_heads, config.local.kv_heads) *
                                  KvValueStride(KvType::kF32, std::max({std::size_t{config.head_dim}, config.value_width(),
                                                          std::size_t{config.local.head_dim}})), bytes) ||
      bytes > std::numeric_limits<std::size_t>::max() / 4) {
    return Fail(ErrorCode::kTooLarge, "context", context, " positions of this model's keys and values cannot be addressed");
  }
  ScratchShape shape;
  shape.tokens = std::min(options.batch, context);
  shape.outputs = config.logits ? std::min(options.outputs, shape.tokens) : 0;
  shape.context = context;
  shape.threads = options.threads;
  shape.kinds = kinds;
  shape.adapter_rank = options.adapter_rank;
  return shape;
}

INLAY_END_NAMESPACE

#endif  // INLAY_MODEL_MEMORY_PLAN_HPP_
