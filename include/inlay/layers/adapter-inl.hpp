// Adapters at work (weights/adapter.hpp): what a layer's products gain from the low-rank changes of the sequences in a pass,
// and what is added behind a layer. Nothing happens, and nothing is read, where no sequence has any.

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <span>
#include <utility>

#include "inlay/core/executor.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/kernels/activations.hpp"
#include "inlay/kernels/output.hpp"
#include "inlay/layers/batch.hpp"
#include "inlay/layers/partition.hpp"
#include "inlay/layers/scratch.hpp"
#include "inlay/weights/adapter.hpp"

#if defined(INLAY_LAYERS_ADAPTER_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_LAYERS_ADAPTER_INL_HPP_
#undef INLAY_LAYERS_ADAPTER_INL_HPP_
#else
#define INLAY_LAYERS_ADAPTER_INL_HPP_
#endif

#include "inlay/kernels/elementwise-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {

// The changes of one layer for all sequences of a pass. Each product with a changed matrix takes two steps: Prepare computes
// scale * down x for all tokens, Add adds up * that to rows of the product's result. Sums do not depend on how tokens and rows
// are cut, as those of the product itself. Dot products and scaled sums, not a matrix product of their own: they multiply
// rank * (1 / rows + 1 / cols) times as much as the product, and the code stays small in programs that use no adapter.
class LayerAdapters {
 public:
  LayerAdapters(std::span<const SequenceInput> sequences, std::size_t layer, const Scratch& scratch)
      : sequences_(sequences), layer_(layer), scratch_(&scratch) {
    for (const SequenceInput& sequence : sequences) any_ |= sequence.adapters != nullptr && !sequence.adapters->loras.empty();
  }
  LayerAdapters() = default;  // of nothing

  // For up to kAdapterSlots matrices, in roles' order, that multiply the same x [tokens, cols]. The results stay until the next
  // call.
  HWY_INLINE void Prepare(std::initializer_list<TensorRole> roles, std::size_t cols, const Activations& x,
                          ExecutorRef executor) const {
    if (HWY_LIKELY(!any_)) return;
    PrepareAll({roles.begin(), roles.size()}, cols, x, executor);
  }

  // out[t, begin .. end) += the change of the matrix that was roles[slot], [rows, ...].
  HWY_INLINE void Add(std::size_t slot, TensorRole role, std::size_t rows, std::size_t begin, std::size_t end,
                      const Output& out) const {
    if (HWY_LIKELY(!any_)) return;
    AddAll(slot, role, rows, begin, end, out);
  }

 private:
  static constexpr std::size_t kTokensPerTask = 16;

  float* Low(std::size_t slot) const { return scratch_->adapter_low + slot * scratch_->shape.tokens * scratch_->shape.adapter_rank; }

  // Calls f(change, scale, column of the first value in a row of Low, first token, token after the last).
  template <class F>
  HWY_INLINE void ForChanges(TensorRole role, F&& f) const {
    const std::size_t adapted = *AdaptedIndex(role);
    std::size_t token = 0;
    for (const SequenceInput& sequence : sequences_) {
      const std::size_t first = std::exchange(token, token + sequence.tokens.size());
      if (sequence.adapters == nullptr || sequence.tokens.empty()) continue;
      std::size_t column = 0;
      for (const LoraUse& use : sequence.adapters->loras) {
        const LowRankChange& change = use.adapter->change(layer_, adapted);
        if (change.down != nullptr && use.scale != 0.0f) f(change, use.scale, column, first, token);
        column += use.adapter->rank();
      }
    }
  }

  HWY_NOINLINE void PrepareAll(std::span<const TensorRole> roles, std::size_t cols, const Activations& x,
                               ExecutorRef executor) const {
    const std::size_t stride = scratch_->shape.adapter_rank;
    std::size_t tokens = 0;
    for (const SequenceInput& sequence : sequences_) tokens += sequence.tokens.size();
    const std::size_t blocks = DivideUp(tokens, kTokensPerTask);
    const auto task = [&](std::size_t index) HWY_ATTR {
      const std::size_t slot = index % roles.size(), begin = index / roles.size() * kTokensPerTask;
      ForChanges(roles[slot], [&](const LowRankChange& change, float scale, std::size_t column, std::size_t first,
                                  std::size_t last) HWY_ATTR {
        const std::size_t from = std::max(first, begin), to = std::min(last, begin + kTokensPerTask);
        if (from >= to) return;
        for (std::size_t t = from; t < to; ++t) {
          float* const low = Low(slot) + t * stride + column;
          for (std::size_t r = 0; r < change.rank; ++r) {
            low[r] = scale * Dot(change.down + r * cols, x.values + t * x.stride, cols);
          }
        }
      });
    };
    if (blocks * roles.size() > 1 && tokens * cols * stride * roles.size() >= kSerialMacs) {
      executor.Run(blocks * roles.size(), task);
    } else {
      for (std::size_t i = 0; i < blocks * roles.size(); ++i) task(i);
    }
  }

  HWY_NOINLINE void AddAll(std::size_t slot, TensorRole role, std::size_t rows, std::size_t begin, std::size_t end,
                           const Output& out) const {
    ForChanges(role, [&](const LowRankChange& change, float, std::size_t column, std::size_t first, std::size_t last) HWY_ATTR {
      for (std::size_t t = first; t < last; ++t) {
        const float* const low = Low(slot) + t * scratch_->shape.adapter_rank + column;
        float* const to = out.data + t * out.stride + begin;
        for (std::size_t r = 0; r < change.rank; ++r) AddScaled(change.up + r * rows + begin, low[r], end - begin, to);
      }
    });
  }

  std::span<const SequenceInput> sequences_;
  std::size_t layer_ = 0;
  const Scratch* scratch_ = nullptr;
  bool any_ = false;
};

// residual[t] += the directions of layer `layer` that each token's sequence is steered by.
HWY_INLINE void AddDirections(std::span<const SequenceInput> sequences, std::size_t layer, std::size_t dim, float* residual) {
  for (const SequenceInput& sequence : sequences) {
    const std::size_t tokens = sequence.tokens.size();
    if (HWY_UNLIKELY(sequence.adapters != nullptr)) {
      for (const ControlUse& use : sequence.adapters->controls) {
        if (layer < use.first_layer || layer > use.last_layer) continue;
        const float* const direction = use.vector->direction(layer);
        for (std::size_t t = 0; direction != nullptr && t < tokens; ++t) AddScaled(direction, use.scale, dim, residual + t * dim);
      }
    }
    residual += tokens * dim;
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // INLAY_LAYERS_ADAPTER_INL_HPP_
