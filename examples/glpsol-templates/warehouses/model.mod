# Which warehouses to open, and which of them serves each town, at the lowest cost.
param rent;
set WAREHOUSES;
set TOWNS;
param distance{WAREHOUSES, TOWNS};
param demand{TOWNS};

var open{WAREHOUSES}, binary;
var share{WAREHOUSES, TOWNS}, >= 0;

minimize cost: sum{w in WAREHOUSES} rent * open[w]
    + sum{w in WAREHOUSES, t in TOWNS} distance[w, t] * demand[t] * share[w, t];
s.t. served{t in TOWNS}: sum{w in WAREHOUSES} share[w, t] = 1;
s.t. only_open{w in WAREHOUSES, t in TOWNS}: share[w, t] <= open[w];

solve;

printf '{"cost": %g, "open": %d}\n', cost, sum{w in WAREHOUSES} open[w] > "metrics.json";
printf "town,warehouse\n" > "plan.csv";
printf{t in TOWNS, w in WAREHOUSES: share[w, t] > 0.5} "%s,%s\n", t, w >> "plan.csv";

end;
