// The arena never runs destructors, so it takes no type that has one.
// expect: static assertion failed|static_assert failed
// expect: is_trivially_destructible
#include <string>

#include "inlay/core/arena.hpp"

#if defined(CONTROL)
using Element = int;
#else
using Element = std::string;
#endif

bool Caller(inlay::Arena& arena) { return arena.Allocate<Element>(1, "text").has_value(); }
