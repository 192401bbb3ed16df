// Adapters at work (weights/adapter.hpp): what a layer's products gain from the low-rank changes of the sequences in a pass,
// and what is added behind a layer. Nothing happens, and nothing is read, where no sequence has any.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <utility>

#include "inlay/core/executor.hpp"
#include "inlay/core/extents.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/token.hpp"
#include "inlay/formats/weight_type.hpp"
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
#include "inlay/layers/linear-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {

// The changes of one layer, or of the model's own matrices, for all sequences of a pass. Each product with a changed matrix takes
// two steps: Prepare computes scale * down x for all rows of x, Add adds up^T of that to rows of the product's result. Sums do not
// depend on how tokens and rows are cut, as those of the product itself. Dot products and scaled sums, not a matrix product
// of their own: they multiply rank * (1 / rows + 1 / cols) times as much as the product, and the code stays small in programs
// that use no adapter.
class LayerAdapters {
 public:
  LayerAdapters(std::span<const SequenceInput> sequences, std::size_t layer, const Scratch& scratch)
      : sequences_(sequences), layer_(layer), scratch_(&scratch) {
    for (const SequenceInput& sequence : sequences) any_ |= sequence.adapters != nullptr && !sequence.adapters->loras.empty();
  }
  LayerAdapters() = default;  // of nothing

  // The same for products with matrix `expert` of a tensor, whose rows are those of some tokens of the pass, in ascending order.
  LayerAdapters ForExpert(std::size_t expert, std::span<const std::uint32_t> members) const {
    LayerAdapters changed = *this;
    changed.rows_ = Rows::kMembers;
    changed.expert_ = expert;
    changed.members_ = members;
    return changed;
  }
  // The same for products whose rows are the positions that the sequences ask for.
  LayerAdapters ForOutputs() const {
    LayerAdapters changed = *this;
    changed.rows_ = Rows::kOutputs;
    return changed;
  }

  // For up to kAdapterSlots matrices, in roles' order, that multiply the same x [rows, cols]. The results stay until the next
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

  // Both steps at once, for small matrices of several in one tensor: out[t] += the change of matrix `expert`, or of its transpose,
  // times x[t]. `cols` and `rows` are those of the matrix as it is.
  HWY_INLINE void AddProduct(TensorRole role, std::size_t expert, bool transposed, std::size_t rows, std::size_t cols, const float* x,
                             std::size_t stride, const Output& out) const {
    if (HWY_LIKELY(!any_)) return;
    AddWhole(role, expert, transposed, rows, cols, x, stride, out);
  }

  // embedding += the changes of a token's row [dim] in the table of embeddings.
  HWY_INLINE static void AddEmbedding(const SequenceInput& sequence, TokenId token, std::size_t dim, float* embedding) {
    if (HWY_LIKELY(sequence.adapters == nullptr)) return;
    for (const LoraUse& use : sequence.adapters->loras) {
      const LowRankChange& change = use.adapter->change(TensorRole::kTokenEmbedding, 0);
      if (change.down == nullptr) continue;
      const float* const low = change.down + static_cast<std::size_t>(token) * change.rank;
      for (std::size_t r = 0; r < change.rank; ++r) AddScaled(change.up + r * dim, use.scale * low[r], dim, embedding);
    }
  }

 private:
  enum class Rows : std::uint8_t { kTokens, kMembers, kOutputs };
  static constexpr std::size_t kRowsPerTask = 16;

  float* Low(std::size_t slot) const { return scratch_->adapter_low + slot * scratch_->shape.tokens * scratch_->shape.adapter_rank; }

  // The row behind the last whose token is before `token`.
  std::size_t MembersBefore(std::size_t token) const {
    return static_cast<std::size_t>(std::lower_bound(members_.begin(), members_.end(), token) - members_.begin());
  }

  // Calls f(change, scale, column of the first value in a row of Low, first row, row after the last).
  template <class F>
  HWY_INLINE void ForChanges(TensorRole role, F&& f) const {
    std::size_t token = 0;
    for (const SequenceInput& sequence : sequences_) {
      const std::size_t count = rows_ == Rows::kOutputs ? OutputCount(sequence) : sequence.tokens.size();
      const std::size_t begin = std::exchange(token, token + count);
      if (sequence.adapters == nullptr || count == 0) continue;
      const bool members = rows_ == Rows::kMembers;
      const std::size_t first = members ? MembersBefore(begin) : begin, last = members ? MembersBefore(token) : token;
      std::size_t column = 0;
      for (const LoraUse& use : sequence.adapters->loras) {
        const LowRankChange& change = use.adapter->change(role, layer_);
        if (change.down != nullptr && use.scale != 0.0f && first != last) f(change, use.scale, column, first, last);
        column += use.adapter->rank();
      }
    }
  }

  HWY_NOINLINE void PrepareAll(std::span<const TensorRole> roles, std::size_t cols, const Activations& x,
                               ExecutorRef executor) const {
    const std::size_t stride = scratch_->shape.adapter_rank;
    std::size_t rows = members_.size();
    for (const SequenceInput& sequence : sequences_) {
      if (rows_ != Rows::kMembers) rows += rows_ == Rows::kOutputs ? OutputCount(sequence) : sequence.tokens.size();
    }
    const std::size_t blocks = DivideUp(rows, kRowsPerTask);
    const auto task = [&](std::size_t index) HWY_ATTR {
      const std::size_t slot = index % roles.size(), begin = index / roles.size() * kRowsPerTask;
      ForChanges(roles[slot], [&](const LowRankChange& change, float scale, std::size_t column, std::size_t first,
                                  std::size_t last) HWY_ATTR {
        const std::size_t from = std::max(first, begin), to = std::min(last, begin + kRowsPerTask);
        if (from >= to) return;
        const float* const down = change.down + expert_ * change.down_step;
        for (std::size_t t = from; t < to; ++t) {
          float* const low = Low(slot) + t * stride + column;
          for (std::size_t r = 0; r < change.rank; ++r) low[r] = scale * Dot(down + r * cols, x.values + t * x.stride, cols);
        }
      });
    };
    if (blocks * roles.size() > 1 && rows * cols * stride * roles.size() >= kSerialMacs) {
      executor.Run(blocks * roles.size(), task);
    } else {
      for (std::size_t i = 0; i < blocks * roles.size(); ++i) task(i);
    }
  }

  HWY_NOINLINE void AddAll(std::size_t slot, TensorRole role, std::size_t rows, std::size_t begin, std::size_t end,
                           const Output& out) const {
    ForChanges(role, [&](const LowRankChange& change, float, std::size_t column, std::size_t first, std::size_t last) HWY_ATTR {
      const float* const up = change.up + expert_ * change.up_step + begin;
      for (std::size_t t = first; t < last; ++t) {
        const float* const low = Low(slot) + t * scratch_->shape.adapter_rank + column;
        float* const to = out.data + t * out.stride + begin;
        for (std::size_t r = 0; r < change.rank; ++r) AddScaled(up + r * rows, low[r], end - begin, to);
      }
    });
  }

  HWY_NOINLINE void AddWhole(TensorRole role, std::size_t expert, bool transposed, std::size_t rows, std::size_t cols,
                             const float* x, std::size_t stride, const Output& out) const {
    ForChanges(role, [&](const LowRankChange& change, float scale, std::size_t, std::size_t first, std::size_t last) HWY_ATTR {
      const float* const down = change.down + expert * change.down_step;
      const float* const up = change.up + expert * change.up_step;
      const float* const read = transposed ? up : down;
      const float* const write = transposed ? down : up;
      const std::size_t in = transposed ? rows : cols, of = transposed ? cols : rows;
      for (std::size_t t = first; t < last; ++t) {
        for (std::size_t r = 0; r < change.rank; ++r) {
          AddScaled(write + r * of, scale * Dot(read + r * in, x + t * stride, in), of, out.data + t * out.stride);
        }
      }
    });
  }

  std::span<const SequenceInput> sequences_;
  std::size_t layer_ = 0;
  const Scratch* scratch_ = nullptr;
  Rows rows_ = Rows::kTokens;
  std::size_t expert_ = 0;
  std::span<const std::uint32_t> members_;
  bool any_ = false;
};

// out (=|+=) x * (matrix `role` with its changes)^T (+ bias): Multiply, where nothing else multiplies the same x.
template <class FormatList, Extent Cols>
HWY_INLINE void MultiplyChanged(WeightType type, const std::byte* matrix, const float* bias, TensorRole role, std::size_t rows,
                                Cols cols, const Activations& x, std::size_t tokens, const LayerAdapters& adapters,
                                const Output& out, ExecutorRef executor) {
  adapters.Prepare({role}, cols, x, executor);
  Multiply<FormatList>(type, matrix, bias, rows, cols, x, tokens, out, executor,
                       [&](std::size_t begin, std::size_t end) HWY_ATTR { adapters.Add(0, role, rows, begin, end, out); });
}

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
