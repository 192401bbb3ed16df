// A result is copied only when its value can be.
// expect-gcc: cannot bind rvalue reference
// expect-clang: no matching (constructor|function)|deleted
#include <memory>
#include <utility>

#include "inlay/core/result.hpp"

void Caller(inlay::Result<std::unique_ptr<int>> result) {
#if defined(CONTROL)
  const auto taken = std::move(result);
#else
  const auto taken = result;
#endif
  (void)taken;
}
