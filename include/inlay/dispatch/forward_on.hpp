// What every target of dynamic dispatch makes: the forward pass, under its number. Apart because targets-inl.hpp, which
// specialises it, is included once for each target.
#ifndef INLAY_DISPATCH_FORWARD_ON_HPP_
#define INLAY_DISPATCH_FORWARD_ON_HPP_

#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE
namespace detail {

// kTarget: one of Highway's HWY_SSE4, ... Targets that are not compiled have no pass.
template <long long kTarget>
struct ForwardOn {
  static constexpr bool kCompiled = false;
};

}  // namespace detail
INLAY_END_NAMESPACE

#endif  // INLAY_DISPATCH_FORWARD_ON_HPP_
