// Large pages for weights that are there already.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

// Where weights lie: begin and end.
using Ranges = std::vector<std::pair<uintptr_t, uintptr_t>>;

// Ask the system to put the memory of these ranges on large pages, in place: a step reads all of a model's weights, which
// are many more small pages than a core remembers addresses of. Contents and addresses stay as they are; where the
// system will not (an old kernel, weights mapped from a file), nothing happens.
void enlarge_pages(Ranges ranges);
