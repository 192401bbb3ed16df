// Matrix products of a layer: normalise and quantise the input once, then cut the matrix's rows over the threads.

#include <algorithm>
#include <array>
#include <cstddef>

#include "inlay/core/executor.hpp"
#include "inlay/core/extents.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/kernels/activations.hpp"
#include "inlay/kernels/output.hpp"
#include "inlay/layers/partition.hpp"
#include "inlay/layers/scratch.hpp"
#include "inlay/weights/packed_weights.hpp"

#if defined(INLAY_LAYERS_LINEAR_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_LAYERS_LINEAR_INL_HPP_
#undef INLAY_LAYERS_LINEAR_INL_HPP_
#else
#define INLAY_LAYERS_LINEAR_INL_HPP_
#endif

#include "inlay/kernels/elementwise-inl.hpp"
#include "inlay/kernels/matmul-inl.hpp"
#include "inlay/kernels/quantize-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {

// The input representations that a group of matrices multiplies with.
template <class... Matrices>
HWY_INLINE ActivationKinds KindsFor(const Matrices&... matrices) {
  return static_cast<ActivationKinds>((ActivationKindOf(matrices.type) | ...));
}

// out = norm(x) with a model's kind of norm. x may be out. bias: nullptr where the model has none.
template <class Spec, Extent Cols>
HWY_INLINE void NormalizeRow(const Spec& spec, const float* x, const float* weight, const float* bias, Cols cols,
                             float* out) {
  const ModelConfig& config = spec.config();
  if (config.norm.kind == NormKind::kRms) {
    RmsNorm(x, weight, cols, config.norm_epsilon, out);
  } else {
    LayerNorm(x, weight, bias, cols, config.norm_epsilon, out);
  }
}

// out = norm(x), in the representations that `kinds` names.  x: [tokens, dim]. weight nullptr: out = x.
template <class Spec>
HWY_INLINE void NormalizeRows(const Spec& spec, const float* x, const float* weight, const float* bias, std::size_t tokens,
                              ActivationKinds kinds, const Activations& out, ExecutorRef executor) {
  const auto dim = spec.dim();
  ForTokenRanges(executor, tokens, [&](std::size_t begin, std::size_t end) HWY_ATTR {
    for (std::size_t t = begin; t < end; ++t) {
      const float* from = x + t * dim;
      float* to = out.values + t * out.stride;
      if (weight == nullptr) {
        std::copy(from, from + dim, to);
      } else {
        NormalizeRow(spec, from, weight, bias, dim, to);
      }
    }
    QuantizeRows(kinds, dim, begin, end, out);
  });
}

// Where a branch (attention or feed-forward) puts its result: on top of the residual, or apart for FinishBranch.
template <class Spec>
HWY_INLINE Output BranchOutput(const Spec& spec, const Scratch& scratch) {
  const bool apart = NeedsBranch(spec.config());
  return {apart ? scratch.branch : scratch.residual, spec.config().dim, !apart};
}

// The end of a branch: the norm behind it, if any, and the sum with the residual.
template <class Spec>
HWY_INLINE void FinishBranch(const Spec& spec, const float* weight, const float* bias, std::size_t tokens,
                             const Scratch& scratch, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const bool sums = config.norm.placement == NormPlacement::kResidual;
  if (!sums && !NeedsBranch(config)) return;
  const auto dim = spec.dim();
  ForTokenRanges(executor, tokens, [&](std::size_t begin, std::size_t end) HWY_ATTR {
    for (std::size_t t = begin; t < end; ++t) {
      float* const residual = scratch.residual + t * dim;
      if (sums) {
        NormalizeRow(spec, residual, weight, bias, dim, residual);
      } else {
        float* const branch = scratch.branch + t * dim;
        if (weight != nullptr) NormalizeRow(spec, branch, weight, bias, dim, branch);
        AddScaled(branch, config.residual_scale, dim, residual);
      }
    }
  });
}

// out[t, begin .. end) += bias for all tokens.
HWY_INLINE void AddBias(const float* bias, std::size_t tokens, std::size_t begin, std::size_t end, const Output& out) {
  for (std::size_t t = 0; t < tokens; ++t) AddResidual(bias + begin, end - begin, out.data + t * out.stride + begin);
}

// The quantised forms of activations whose values another step has left in place.
HWY_INLINE void QuantizeForProduct(ActivationKinds kinds, std::size_t cols, std::size_t tokens, const Activations& x,
                                   ExecutorRef executor) {
  if ((kinds & ~kActivationFloat) == 0) return;
  ForTokenRanges(executor, tokens, [&](std::size_t begin, std::size_t end) HWY_ATTR {
    QuantizeRows(kinds, cols, begin, end, x);
  });
}

// What a product gains from nothing.
struct NoChange {
  void operator()(std::size_t, std::size_t) const {}
};

// out (=|+=) x * matrix^T (+ bias) for all tokens.  x: [tokens, cols], matrix: [rows, cols], out: [tokens, rows]; bias
// [rows] or nullptr. `change(begin, end)` adds to finished rows.
template <class FormatList, Extent Cols, class Change = NoChange>
HWY_INLINE void Multiply(WeightType type, const std::byte* matrix, const float* bias, std::size_t rows, Cols cols,
                         const Activations& x, std::size_t tokens, const Output& out, ExecutorRef executor,
                         const Change& change = {}) {
  ForRowRanges(executor, std::array{rows}, RowUnit(tokens), rows * cols * tokens,
               [&](std::size_t, std::size_t begin, std::size_t end) HWY_ATTR {
                 MatMul<FormatList>(type, matrix, rows, cols, x, 0, tokens, begin, end, out);
                 if (bias != nullptr) AddBias(bias, tokens, begin, end, out);
                 change(begin, end);
               });
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // INLAY_LAYERS_LINEAR_INL_HPP_
