// Spec: how dimensions reach the code. One forward pass serves models whose dimensions the compiler knows and models
// that are read from a file.
#ifndef INLAY_CONFIG_SPEC_HPP_
#define INLAY_CONFIG_SPEC_HPP_

#include <cstddef>

#include "inlay/config/model_config.hpp"
#include "inlay/core/extents.hpp"
#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE

// Matrix widths up to this are compiled into the kernels of a static model. Wider products spend their time in memory
// and arithmetic, not in loop control (see docs/performance.md), and every width compiled in costs compile time.
inline constexpr std::size_t kMaxUnrolledColumns = 1024;

namespace detail {
template <std::size_t kColumns>
constexpr auto ColumnsExtent() {
  if constexpr (kColumns <= kMaxUnrolledColumns) {
    return StaticExtent<kColumns>{};
  } else {
    return DynamicExtent{kColumns};
  }
}
}  // namespace detail

// Every dimension a constant: the compiler folds them. A configuration that breaks a rule does not compile, and the
// message names the field.
template <ModelConfig kConfig>
struct StaticSpec {
#define INLAY_DETAIL_RULE(field, message, condition) \
  static_assert([](const ModelConfig& c) { return (condition); }(kConfig), "ModelConfig." field " " message);
  INLAY_CONFIG_RULES(INLAY_DETAIL_RULE)
#undef INLAY_DETAIL_RULE

  static constexpr bool kIsStatic = true;
  static constexpr const ModelConfig& config() { return kConfig; }

  // Columns of the matrices that read the residual stream, the attention output and the feed-forward network.
  static constexpr auto dim() { return detail::ColumnsExtent<kConfig.dim>(); }
  static constexpr auto mixed_dim() { return detail::ColumnsExtent<kConfig.mixed_dim()>(); }
  static constexpr auto ffn_dim() { return detail::ColumnsExtent<kConfig.ffn_dim>(); }
  static constexpr auto wide_ffn_dim() { return detail::ColumnsExtent<kConfig.wide_ffn_dim>(); }
  static constexpr auto expert_ffn_dim() { return detail::ColumnsExtent<kConfig.expert_ffn_dim()>(); }
  static constexpr auto shared_ffn_dim() { return detail::ColumnsExtent<kConfig.expert.shared_ffn_dim>(); }
  static constexpr auto head_dim() { return StaticExtent<kConfig.head_dim>{}; }
  static constexpr auto value_dim() {
    if constexpr (kConfig.latent.rank == 0) {
      return StaticExtent<kConfig.value_width()>{};
    } else {
      return DynamicExtent{kConfig.value_width()};  // values lie in the keys: see kernels/attention-inl.hpp
    }
  }
  static constexpr auto state_inner_dim() { return detail::ColumnsExtent<kConfig.state_inner_dim()>(); }

  // What layers with a window see.
  static constexpr auto OfLocalLayers() { return StaticSpec<kConfig.OfLocalLayers()>{}; }
};

// Dimensions read from a file. The configuration has passed Validate.
class DynamicSpec {
 public:
  static constexpr bool kIsStatic = false;

  constexpr explicit DynamicSpec(const ModelConfig& config) : config_(config) {}
  constexpr const ModelConfig& config() const { return config_; }

  constexpr DynamicExtent dim() const { return {config_.dim}; }
  constexpr DynamicExtent mixed_dim() const { return {config_.mixed_dim()}; }
  constexpr DynamicExtent ffn_dim() const { return {config_.ffn_dim}; }
  constexpr DynamicExtent wide_ffn_dim() const { return {config_.wide_ffn_dim}; }
  constexpr DynamicExtent expert_ffn_dim() const { return {config_.expert_ffn_dim()}; }
  constexpr DynamicExtent shared_ffn_dim() const { return {config_.expert.shared_ffn_dim}; }
  constexpr DynamicExtent head_dim() const { return {config_.head_dim}; }
  constexpr DynamicExtent value_dim() const { return {config_.value_width()}; }
  constexpr DynamicExtent state_inner_dim() const { return {config_.state_inner_dim()}; }

  constexpr DynamicSpec OfLocalLayers() const { return DynamicSpec(config_.OfLocalLayers()); }

 private:
  ModelConfig config_;
};

// Whether a model of this spec may have a feature: what a static model lacks is not even compiled. `feature` is a
// function of the configuration, without captures.
template <class Spec, class Feature>
constexpr bool MayHave(Feature feature) {
  if constexpr (Spec::kIsStatic) {
    return feature(Spec::config());
  } else {
    return true;
  }
}

INLAY_END_NAMESPACE

#endif  // INLAY_CONFIG_SPEC_HPP_
